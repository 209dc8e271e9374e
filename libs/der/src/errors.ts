import { CodedError } from "@dstack/errors";

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
export class DerError extends CodedError<DerErrorCode> {}
