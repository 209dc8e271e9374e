export type AuthSimpleErrorCode = "config-syntax" | "config-invalid" | "config-unreadable" | "request-invalid" | "environment-invalid";

/** Every refusal of this service. Match on `code`, never on the text. */
export class AuthSimpleError extends Error {
  readonly code: AuthSimpleErrorCode;
  constructor(code: AuthSimpleErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AuthSimpleError";
    this.code = code;
  }
}
