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
export class GovernanceError extends Error {
  readonly code: GovernanceErrorCode;
  constructor(code: GovernanceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "GovernanceError";
    this.code = code;
  }
}
