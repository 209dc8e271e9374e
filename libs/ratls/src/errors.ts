import { CodedError } from "@dstack/errors";

export type RatlsErrorCode =
  | "name-invalid"
  | "validity-invalid"
  | "key-mismatch"
  | "extension-malformed"
  | "evidence-unsupported"
  | "csr-malformed"
  | "csr-refused"
  | "chain-refused"
  | "peer-refused"
  | "rule-missing";

/** Every refusal of this package. Match on `code`, never on the text. */
export class RatlsError extends CodedError<RatlsErrorCode> {}
