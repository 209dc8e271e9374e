import { CodedError } from "@dstack/errors";

export type KeysErrorCode =
  | "length-wrong"
  | "scalar-invalid"
  | "signature-invalid"
  | "shared-secret-zero"
  | "ciphertext-invalid"
  | "plaintext-invalid";

/** Every refusal of this package. Match on `code`, never on the text. No text carries key bytes. */
export class KeysError extends CodedError<KeysErrorCode> {}

/** @throws KeysError `length-wrong` */
export function requireLength(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length)
    throw new KeysError("length-wrong", `${what}: expected ${length} bytes, got ${bytes.length}`);
}
