import { createPrivateKey, createPublicKey } from "node:crypto";
import { concatBytes, toHex, utf8 } from "@dstack/bytes";
import { kdf, rawToPkcs8, secp256k1PublicKey, signRecoverable } from "@dstack/keys";
import { RpcError } from "@dstack/rpc";
import type { AppRootKey } from "./ports.ts";

export type KeyAlgorithm = "secp256k1" | "ed25519";

export interface DerivedKey {
  /** 32 bytes: the scalar, or the ed25519 seed. The same bytes for both algorithms (#605). */
  readonly key: Uint8Array;
  /** Compressed point (33 bytes) or ed25519 public key (32 bytes). */
  readonly publicKey: Uint8Array;
  /** The app key over purpose and public key; the KMS root over the app key. */
  readonly signatureChain: readonly [Uint8Array, Uint8Array];
}

/** @throws RpcError `bad-request` */
export function parseKeyAlgorithm(text: string): KeyAlgorithm {
  if (text === "" || text === "secp256k1" || text === "k256") return "secp256k1";
  if (text === "ed25519") return "ed25519";
  throw new RpcError(
    "bad-request",
    `Unsupported algorithm: ${JSON.stringify(text.slice(0, 40))}, expected secp256k1 or ed25519`,
  );
}

/**
 * The app's key for a path; the same in every instance, at every boot. `purpose` enters the
 * signature only.
 */
export function deriveAppKey(keys: AppRootKey, path: string, purpose: string, algorithm: KeyAlgorithm): DerivedKey {
  const key = kdf(keys.k256Key, [utf8(path)]);
  const publicKey = algorithm === "ed25519" ? ed25519PublicKey(key) : secp256k1PublicKey(key);
  const signature = signRecoverable(keys.k256Key, concatBytes(utf8(`${purpose}:`), utf8(toHex(publicKey))));
  return { key, publicKey, signatureChain: [signature, keys.k256Signature] };
}

export function ed25519PublicKey(seed: Uint8Array): Uint8Array {
  const privateKey = createPrivateKey({ key: Buffer.from(rawToPkcs8("ed25519", seed)), format: "der", type: "pkcs8" });
  return new Uint8Array(Buffer.from(createPublicKey(privateKey).export({ format: "jwk" }).x ?? "", "base64url"));
}
