import type { AppInfo } from "@dstack/attest";
import { appK256Key, appKeySignature, diskCryptKey, envCryptKey, secp256k1PublicKey } from "@dstack/keys";
import type { KeyStore } from "../keys/key-store.ts";

export interface AppKeys {
  readonly diskCryptKey: Uint8Array;
  readonly envCryptKey: Uint8Array;
  readonly k256Key: Uint8Array;
  readonly k256Signature: Uint8Array;
}

/** Everything that an app instance gets; a function of the roots, the app id and the instance id alone. */
export function deriveAppKeys({ rootCa, rootK256 }: KeyStore, { appId, instanceId }: AppInfo): AppKeys {
  const k256Key = appK256Key(rootK256, appId);
  return {
    diskCryptKey: diskCryptKey(rootCa.key.scalar, appId, instanceId),
    envCryptKey: envCryptKey(rootCa.key.scalar, appId),
    k256Key,
    k256Signature: appKeySignature(rootK256, appId, secp256k1PublicKey(k256Key)),
  };
}
