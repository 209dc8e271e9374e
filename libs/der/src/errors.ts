import { CodedError, type ErrorTable } from "@dstack/errors";

export const DER_ERRORS = {
  truncated: "the value ends before its length says",
  "trailing-bytes": "bytes stand after the end of the value",
  "length-not-minimal": "a length is written longer than it must be",
  "length-not-definite": "a length is left open, which DER does not allow",
  "tag-unsupported": "a tag of more than one byte",
  "tag-unexpected": "another kind of value than belongs here",
  "value-invalid": "the content of a value breaks the rule of its kind",
  "too-large": "a value larger than is ever read",
} as const satisfies ErrorTable;

export type DerErrorCode = keyof typeof DER_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class DerError extends CodedError<DerErrorCode> {}
