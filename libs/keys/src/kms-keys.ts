/**
 * The keys that a KMS derives for apps from its two roots: the P-256 scalar of the root CA and
 * the secp256k1 root scalar. All four are frozen: disks and addresses hang on them.
 */
import { utf8 } from "@dstack/bytes";
import type { AppId, InstanceId } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";
import { kdf } from "./kdf.ts";
import { deriveDh, deriveP256, type P256Key } from "./p256.ts";

/** Disk key, 32 bytes. Instances without an id share one disk key per app (#549). @throws KeysError */
export function diskCryptKey(rootScalar: Uint8Array, app: AppId, instance: InstanceId): Uint8Array {
  requireAppId(app);
  if (instance.length !== 0) requireLength(instance, 20, "instance id");
  return deriveDh(rootScalar, [app, instance, utf8("app-disk-crypt-key")]);
}

/** X25519 private key of the app's environment, 32 bytes, unclamped. @throws KeysError */
export function envCryptKey(rootScalar: Uint8Array, app: AppId): Uint8Array {
  requireAppId(app);
  return deriveDh(rootScalar, [app, utf8("env-encrypt-key")]);
}

/** Key of the app's own CA. @throws KeysError */
export function appCaKey(rootScalar: Uint8Array, app: AppId): P256Key {
  requireAppId(app);
  return deriveP256(rootScalar, [app, utf8("app-ca")]);
}

/** The app's secp256k1 scalar, 32 bytes. @throws KeysError */
export function appK256Key(rootK256: Uint8Array, app: AppId): Uint8Array {
  requireAppId(app);
  requireLength(rootK256, 32, "root secp256k1 scalar");
  return kdf(rootK256, [app, utf8("app-key")]);
}

// Context parts are joined without lengths, so a wrong length would let two apps meet (#554).
function requireAppId(app: Uint8Array): void {
  if (app.length !== 20) throw new KeysError("length-wrong", "app_id must be 20 bytes");
}
