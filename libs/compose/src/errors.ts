import { CodedError } from "@dstack/errors";

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
export class ComposeError extends CodedError<ComposeErrorCode> {}
