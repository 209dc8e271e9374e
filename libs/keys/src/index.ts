/** Derivations, recoverable signatures and environment encryption: every byte of them is frozen. */
export { KeysError } from "./errors.ts";
export type { KeysErrorCode } from "./errors.ts";
export { kdf } from "./kdf.ts";
export {
  deriveDh,
  deriveP256,
  generateP256,
  p256FromPem,
  p256FromScalar,
  pkcs8Der,
  pkcs8Pem,
  pointFromSpki,
  privateKeyObject,
  publicKeyObject,
  spkiDer,
} from "./p256.ts";
export type { P256Key } from "./p256.ts";
export { appCaKey, appK256Key, diskCryptKey, envCryptKey } from "./kms-keys.ts";
export { recoverSigner } from "./recover-signer.ts";
export { keccak256, secp256k1PublicKey, signRecoverable, signRecoverableDigest } from "./secp256k1.ts";
export {
  appKeySignature,
  appKeySigner,
  checkEnvPublicKey,
  checkEnvPublicKeyFrom,
  envPublicKeySignature,
} from "./kms-signatures.ts";
export type { EnvPublicKeyCheck, EnvPublicKeyClaim, EnvPublicKeyRule } from "./kms-signatures.ts";
export { rawToPkcs8, x25519PublicKey, x25519SharedSecret } from "./x25519.ts";
export type { RawKeyKind } from "./x25519.ts";
export { decryptEnv, encryptEnv, MAX_ENCRYPTED_ENV_BYTES, MAX_ENV_PAIRS } from "./env-encryption.ts";
export type { EnvPair } from "./env-encryption.ts";
