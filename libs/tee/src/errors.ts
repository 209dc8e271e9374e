export type TeeErrorCode =
  | "tee-unavailable"
  | "quote-timeout"
  | "quote-invalid"
  | "register-invalid"
  | "register-mismatch"
  | "log-unrecoverable"
  | "event-conflict"
  | "path-invalid"
  | "aborted";

/** Every refusal of this package. Match on `code`, never on the text. */
export class TeeError extends Error {
  readonly code: TeeErrorCode;
  constructor(code: TeeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TeeError";
    this.code = code;
  }
}
