import { CodedError } from "@dstack/errors";

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
export class TeeError extends CodedError<TeeErrorCode> {}
