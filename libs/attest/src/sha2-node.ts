/**
 * `#sha2` on Node, by its own cryptography: several times as fast as JavaScript, for logs of up to 65,536 events.
 * The package's `imports` choose; a browser's bundle gets the other file.
 */
import { hash } from "node:crypto";
import { parseBareHex } from "@dstack/bytes";

// By way of hex: a Buffer for each of many small digests costs more than the digest.
const by =
  (algorithm: "sha256" | "sha384" | "sha512") =>
  (bytes: Uint8Array): Uint8Array =>
    parseBareHex(hash(algorithm, bytes, "hex"));

export const sha256 = by("sha256");
export const sha384 = by("sha384");
export const sha512 = by("sha512");
