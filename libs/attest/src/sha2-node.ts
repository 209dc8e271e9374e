/**
 * `#sha2` on Node, by its own cryptography: several times as fast as JavaScript, for logs of up to 65,536 events.
 * The package's `imports` choose; a browser's bundle gets the other file.
 */
import { hash } from "node:crypto";

// By way of text, a character for each byte: a Buffer for each of many small digests costs more than the digest.
const by =
  (algorithm: "sha256" | "sha384" | "sha512") =>
  (bytes: Uint8Array): Uint8Array => {
    const text = hash(algorithm, bytes, "latin1");
    const digest = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index++) digest[index] = text.charCodeAt(index);
    return digest;
  };

export const sha256 = by("sha256");
export const sha384 = by("sha384");
export const sha512 = by("sha512");
