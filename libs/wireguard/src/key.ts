import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { concatBytes, parseHex, toHex } from "@dstack/bytes";
import { WireGuardError } from "./errors.ts";

declare const brand: unique symbol;
/** 44 characters of canonical base64 that stand for 32 bytes. Nothing else can be rendered into a configuration. */
export type WireGuardKey = string & { readonly [brand]: "WireGuardKey" };

export interface WireGuardKeyPair {
  readonly privateKey: WireGuardKey;
  readonly publicKey: WireGuardKey;
}

// 43 characters carry 258 bits: the last one's two low bits must be zero or two texts would mean one key.
const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** RFC 8410: PKCS#8 of an X25519 private key up to the key's 32 bytes. */
const PKCS8_PREFIX = parseHex("302e020100300506032b656e04220420");
/** RFC 8410: SubjectPublicKeyInfo of an X25519 key up to the key's 32 bytes. */
const SPKI_PREFIX_LENGTH = 12;

/**
 * A key as `wg` prints it: standard base64 of exactly 32 bytes.
 * @throws WireGuardError `key-invalid`; the text never repeats the key, which may be a private one
 */
export function parseWireGuardKey(text: string, what = "WireGuard key"): WireGuardKey {
  if (!KEY.test(text)) {
    throw new WireGuardError(
      "key-invalid",
      `${what}: expected 44 characters of standard base64 for 32 bytes, got ${text.length} characters`,
    );
  }
  return text as WireGuardKey;
}

/** @throws WireGuardError `key-invalid` unless 32 bytes */
export function wireGuardKeyFromBytes(bytes: Uint8Array): WireGuardKey {
  return parseWireGuardKey(Buffer.from(bytes).toString("base64"));
}

/** The 32 bytes of a key. */
export const wireGuardKeyBytes = (key: WireGuardKey): Uint8Array => new Uint8Array(Buffer.from(key, "base64"));

/** 64 digits, as the UAPI wants them. */
export const wireGuardKeyHex = (key: WireGuardKey): string => toHex(wireGuardKeyBytes(key));

/** A fresh pair from the system's generator. */
export function generateWireGuardKeys(): WireGuardKeyPair {
  const { privateKey } = generateKeyPairSync("x25519");
  const secret = privateKey.export({ format: "der", type: "pkcs8" }).subarray(PKCS8_PREFIX.length);
  const key = wireGuardKeyFromBytes(secret);
  return { privateKey: key, publicKey: publicKeyOf(key) };
}

/** The public key that belongs to a private one. */
export function publicKeyOf(privateKey: WireGuardKey): WireGuardKey {
  const der = Buffer.from(concatBytes(PKCS8_PREFIX, wireGuardKeyBytes(privateKey)));
  const spki = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({
    format: "der",
    type: "spki",
  });
  return wireGuardKeyFromBytes(spki.subarray(SPKI_PREFIX_LENGTH));
}
