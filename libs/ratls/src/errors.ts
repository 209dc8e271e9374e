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
export class RatlsError extends Error {
  readonly code: RatlsErrorCode;
  constructor(code: RatlsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RatlsError";
    this.code = code;
  }
}
