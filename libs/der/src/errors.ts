export type DerErrorCode =
  | "truncated"
  | "trailing-bytes"
  | "length-not-minimal"
  | "length-not-definite"
  | "tag-unsupported"
  | "tag-unexpected"
  | "value-invalid"
  | "too-large";

/** Every refusal of this package. Match on `code`, never on the text. */
export class DerError extends Error {
  readonly code: DerErrorCode;
  constructor(code: DerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "DerError";
    this.code = code;
  }
}
