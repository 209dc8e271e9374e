export type VerifyErrorCode = "evidence-malformed";

/** Evidence that cannot be read at all. Match on `code`, never on the text. */
export class VerifyError extends Error {
  readonly code: VerifyErrorCode;
  constructor(code: VerifyErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "VerifyError";
    this.code = code;
  }
}
