import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto";
import { concatBytes, isAllZero, parseHex, publicKey32 } from "@dstack/bytes";
import type { PublicKey32 } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";

export type RawKeyKind = "x25519" | "ed25519";

const PKCS8_HEADS: Readonly<Record<RawKeyKind, Uint8Array>> = {
  x25519: parseHex("302e020100300506032b656e04220420"),
  ed25519: parseHex("302e020100300506032b657004220420"),
};
const X25519_SPKI_HEAD = parseHex("302a300506032b656e032100");

/** PKCS#8 around a raw private key of 32 bytes, which is what `node:crypto` takes (RFC 8410). */
export function rawToPkcs8(kind: RawKeyKind, secret: Uint8Array): Uint8Array {
  requireLength(secret, 32, `${kind} private key`);
  return concatBytes(PKCS8_HEADS[kind], secret);
}

/** Public key of an X25519 private key. @throws KeysError `length-wrong` */
export function x25519PublicKey(secret: Uint8Array): PublicKey32 {
  const spki = createPublicKey(privateKey(secret)).export({ format: "der", type: "spki" });
  return publicKey32(new Uint8Array(spki.subarray(X25519_SPKI_HEAD.length)));
}

/**
 * The shared secret, 32 bytes.
 * @throws KeysError `shared-secret-zero` for a public key of small order, which would make the secret known to all
 */
export function x25519SharedSecret(secret: Uint8Array, peer: Uint8Array): Uint8Array {
  requireLength(peer, 32, "X25519 public key");
  const publicKey = createPublicKey({
    key: Buffer.from(concatBytes(X25519_SPKI_HEAD, peer)),
    format: "der",
    type: "spki",
  });
  let shared: Uint8Array;
  try {
    shared = new Uint8Array(diffieHellman({ privateKey: privateKey(secret), publicKey }));
  } catch (cause) {
    // OpenSSL itself refuses to hand out the all-zero result.
    throw new KeysError("shared-secret-zero", "invalid X25519 shared secret", { cause });
  }
  if (isAllZero(shared)) throw new KeysError("shared-secret-zero", "invalid X25519 shared secret");
  return shared;
}

const privateKey = (secret: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.from(rawToPkcs8("x25519", secret)), format: "der", type: "pkcs8" });
