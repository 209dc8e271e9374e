import { secp256k1 } from "@noble/curves/secp256k1.js";
import { concatBytes } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";
import { keccak256 } from "./secp256k1.ts";

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
