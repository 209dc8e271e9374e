import { toHex, publicKey32, type AppId, type PublicKey32 } from "@dstack/bytes";
import { envCryptKey, envPublicKeySignature, x25519PublicKey } from "@dstack/keys";
import type { KeyStore } from "../keys/key-store.ts";

export interface SignedEnvPublicKey {
  readonly publicKey: PublicKey32;
  readonly signature: Uint8Array;
  /** Unix seconds. */
  readonly timestamp: bigint;
  readonly signatureV1: Uint8Array;
}

const MAX_APPS = 4096;

/**
 * The keys that an app's variables are encrypted to, signed by the root. Anybody may ask, so what was signed for an
 * app is kept: a function of the root, the app and the second alone. Of those that were not asked about for the longest
 * the oldest is forgotten.
 */
export function envPublicKeys(
  keys: Pick<KeyStore, "rootCa" | "rootK256">,
): (app: AppId, timestamp: bigint) => SignedEnvPublicKey {
  /** In the order of their last use. */
  const signed = new Map<string, SignedEnvPublicKey>();
  return (app, timestamp) => {
    const { rootCa, rootK256 } = keys;
    const name = toHex(app);
    const known = signed.get(name);
    const publicKey = known?.publicKey ?? publicKey32(x25519PublicKey(envCryptKey(rootCa.key.scalar, app)));
    const answer =
      known?.timestamp === timestamp
        ? known
        : {
            publicKey,
            signature: known?.signature ?? envPublicKeySignature(rootK256, app, publicKey),
            timestamp,
            signatureV1: envPublicKeySignature(rootK256, app, publicKey, timestamp),
          };
    signed.delete(name);
    signed.set(name, answer);
    const [oldest] = signed.keys();
    if (signed.size > MAX_APPS && oldest !== undefined) signed.delete(oldest);
    return answer;
  };
}
