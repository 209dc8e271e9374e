export type ComposeErrorCode =
  | "too-large"
  | "json-invalid"
  | "manifest-invalid"
  | "size-invalid"
  | "yaml-invalid"
  | "env-invalid"
  | "policy-refused"
  | "length-wrong";

/** Every refusal of this package. Match on `code`, never on the text. */
export class ComposeError extends Error {
  readonly code: ComposeErrorCode;
  constructor(code: ComposeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ComposeError";
    this.code = code;
  }
}
