import { CodedError } from "@dstack/errors";

export type GovernanceErrorCode =
  | "config-syntax"
  | "config-invalid"
  | "environment-invalid"
  | "request-invalid"
  | "chain-unreachable"
  | "chain-disagrees"
  | "chain-wrong"
  | "chain-stale"
  | "chain-refused"
  | "no-contract";

/** Every refusal of this library. Match on `code`, never on the text. */
export class GovernanceError extends CodedError<GovernanceErrorCode> {}
