export type VerifierErrorCode = "usage" | "config-invalid" | "file-unreadable" | "overloaded";

/** Every refusal of this service that is not a verdict. Match on `code`, never on the text. */
export class VerifierError extends Error {
  readonly code: VerifierErrorCode;
  constructor(code: VerifierErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "VerifierError";
    this.code = code;
  }
}
