export type KeysErrorCode =
  | "length-wrong"
  | "scalar-invalid"
  | "signature-invalid"
  | "shared-secret-zero"
  | "ciphertext-invalid"
  | "plaintext-invalid";

/** Every refusal of this package. Match on `code`, never on the text. No text carries key bytes. */
export class KeysError extends Error {
  readonly code: KeysErrorCode;
  constructor(code: KeysErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "KeysError";
    this.code = code;
  }
}

/** @throws KeysError `length-wrong` */
export function requireLength(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length)
    throw new KeysError("length-wrong", `${what}: expected ${length} bytes, got ${bytes.length}`);
}
