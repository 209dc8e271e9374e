import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { concatBytes } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";

/** Keccak-256 (the pre-standard padding that Ethereum uses). */
export const keccak256 = (bytes: Uint8Array): Uint8Array => keccak_256(bytes);

/** Compressed public key, 33 bytes. @throws KeysError `scalar-invalid` */
export function secp256k1PublicKey(scalar: Uint8Array): Uint8Array {
  requireScalar(scalar);
  return secp256k1.getPublicKey(scalar, true);
}

/**
 * ECDSA over the Keccak-256 digest of `message`: r(32) ‖ s(32, low) ‖ recovery id (0 or 1).
 * Nonces are those of RFC 6979 with SHA-256, so signatures are reproducible.
 * @throws KeysError `scalar-invalid`
 */
export function signRecoverable(scalar: Uint8Array, message: Uint8Array): Uint8Array {
  return signRecoverableDigest(scalar, keccak256(message));
}

/** As `signRecoverable`, over a digest of 32 bytes that the caller made. */
export function signRecoverableDigest(scalar: Uint8Array, digest: Uint8Array): Uint8Array {
  requireScalar(scalar);
  requireLength(digest, 32, "digest");
  const recovered = secp256k1.sign(digest, scalar, { prehash: false, lowS: true, format: "recovered" });
  return concatBytes(recovered.subarray(1), recovered.subarray(0, 1));
}

/**
 * Compressed key (33 bytes) of whoever made a `signRecoverable` signature over `message`.
 * @throws KeysError `length-wrong`, `signature-invalid` (also for high s, which nobody signs)
 */
export function recoverSigner(message: Uint8Array, signature: Uint8Array): Uint8Array {
  requireLength(signature, 65, "recoverable signature");
  const recovery = signature[64]!;
  if (recovery > 1) throw new KeysError("signature-invalid", `recovery id: expected 0 or 1, got ${recovery}`);
  try {
    const parsed = secp256k1.Signature.fromBytes(
      concatBytes(Uint8Array.of(recovery), signature.subarray(0, 64)),
      "recovered",
    );
    if (parsed.hasHighS()) throw new Error("s is not in the lower half");
    return parsed.recoverPublicKey(keccak256(message)).toBytes(true);
  } catch (cause) {
    throw new KeysError("signature-invalid", "no key can be recovered from the signature", { cause });
  }
}

function requireScalar(scalar: Uint8Array): void {
  requireLength(scalar, 32, "secp256k1 scalar");
  if (!secp256k1.utils.isValidSecretKey(scalar))
    throw new KeysError("scalar-invalid", "secp256k1 scalar is zero or not below the group order");
}
