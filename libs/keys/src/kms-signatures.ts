import { concatBytes, equalBytes, u64be, utf8 } from "@dstack/bytes";
import type { AppId, PublicKey32 } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";
import { recoverSigner } from "./recover-signer.ts";
import { signRecoverable } from "./secp256k1.ts";

const APP_KEY_TAG = utf8("dstack-kms-issued:");
const ENV_KEY_TAG = utf8("dstack-env-encrypt-pubkey:");

/** The root's signature over an app's compressed secp256k1 public key (33 bytes). @throws KeysError */
export function appKeySignature(rootK256: Uint8Array, app: AppId, appPublicKey: Uint8Array): Uint8Array {
  return signRecoverable(rootK256, appKeyMessage(app, appPublicKey));
}

/** Compressed root key that signed an app's public key. @throws KeysError */
export function appKeySigner(app: AppId, appPublicKey: Uint8Array, signature: Uint8Array): Uint8Array {
  return recoverSigner(appKeyMessage(app, appPublicKey), signature);
}

function appKeyMessage(app: Uint8Array, appPublicKey: Uint8Array): Uint8Array {
  requireLength(app, 20, "app id");
  requireLength(appPublicKey, 33, "compressed public key");
  return concatBytes(APP_KEY_TAG, app, appPublicKey);
}

/**
 * The root's signature over an app's environment key. With a timestamp (Unix seconds) it is the
 * newer form that clients can date, without it the older one.
 * @throws KeysError
 */
export function envPublicKeySignature(
  rootK256: Uint8Array,
  app: AppId,
  publicKey: PublicKey32,
  timestamp?: bigint,
): Uint8Array {
  return signRecoverable(rootK256, envKeyMessage(app, publicKey, timestamp));
}

export interface EnvPublicKeyClaim {
  readonly appId: AppId;
  readonly publicKey: PublicKey32;
  readonly signature: Uint8Array;
  /** Unix seconds; undefined for the older form, whose age nobody can tell. */
  readonly timestamp: bigint | undefined;
}

export interface EnvPublicKeyRule {
  /** Unix seconds. */
  readonly now: bigint;
  readonly maxAgeSeconds?: number;
  readonly maxAheadSeconds?: number;
}

export type EnvPublicKeyCheck =
  | { readonly kind: "signed"; readonly signer: Uint8Array }
  | { readonly kind: "refused"; readonly reason: string };

/**
 * Who signed an environment key, and whether it is fresh (300 s back, 60 s ahead unless given).
 * The caller compares `signer` (33 bytes) with the KMS key that it trusts.
 */
export function checkEnvPublicKey(claim: EnvPublicKeyClaim, rule: EnvPublicKeyRule): EnvPublicKeyCheck {
  if (claim.timestamp !== undefined) {
    const age = rule.now - claim.timestamp;
    if (age > BigInt(rule.maxAgeSeconds ?? 300))
      return refused(`signature is ${age} s old, limit ${rule.maxAgeSeconds ?? 300} s`);
    if (-age > BigInt(rule.maxAheadSeconds ?? 60))
      return refused(`signature is dated ${-age} s ahead, limit ${rule.maxAheadSeconds ?? 60} s`);
  }
  try {
    return {
      kind: "signed",
      signer: recoverSigner(envKeyMessage(claim.appId, claim.publicKey, claim.timestamp), claim.signature),
    };
  } catch (error) {
    if (error instanceof KeysError) return refused(error.message);
    throw error;
  }
}

/** As `checkEnvPublicKey`, and the signer must be one of the trusted compressed keys. */
export function checkEnvPublicKeyFrom(
  trusted: readonly Uint8Array[],
  claim: EnvPublicKeyClaim,
  rule: EnvPublicKeyRule,
): EnvPublicKeyCheck {
  const check = checkEnvPublicKey(claim, rule);
  if (check.kind === "refused" || trusted.some((key) => equalBytes(key, check.signer))) return check;
  return refused("signer is none of the trusted KMS keys");
}

function envKeyMessage(app: Uint8Array, publicKey: Uint8Array, timestamp: bigint | undefined): Uint8Array {
  requireLength(app, 20, "app id");
  requireLength(publicKey, 32, "X25519 public key");
  return concatBytes(ENV_KEY_TAG, app, timestamp === undefined ? new Uint8Array() : u64be(timestamp), publicKey);
}

const refused = (reason: string): EnvPublicKeyCheck => ({ kind: "refused", reason });
