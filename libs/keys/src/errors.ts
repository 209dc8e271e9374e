import { CodedError, type ErrorTable } from "@dstack/errors";

export const KEYS_ERRORS = {
  "length-wrong": "a key, point, id or signature of another length than its kind",
  "scalar-invalid": "a private key outside the range of its curve",
  "signature-invalid": "a signature is not in its format, or is not that of the key",
  "shared-secret-zero": "the other side's X25519 key gives no shared secret",
  "ciphertext-invalid": "the encrypted environment does not open with this key, or is too short",
  "plaintext-invalid": "the decrypted environment is not in its layout",
} as const satisfies ErrorTable;

export type KeysErrorCode = keyof typeof KEYS_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. No text carries key bytes. */
export class KeysError extends CodedError<KeysErrorCode> {}

/** @throws KeysError `length-wrong` */
export function requireLength(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length)
    throw new KeysError("length-wrong", `${what}: expected ${length} bytes, got ${bytes.length}`);
}
