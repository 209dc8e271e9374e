import { CodedError, type ErrorTable } from "@dstack/errors";

export const RATLS_ERRORS = {
  "name-invalid": "a subject or alternative name that a certificate cannot carry",
  "validity-invalid": "a certificate would end before it begins, or outside the calendar of X.509",
  "key-mismatch": "the certificate is not that of the private key beside it",
  "extension-malformed": "a dstack extension of the certificate cannot be read",
  "evidence-unsupported": "the certificate carries evidence of a platform that is not read here",
  "csr-malformed": "the certificate request is not in its layout, or of another API version",
  "csr-refused": "the certificate request's signature or confirm word is wrong",
  "chain-refused": "the peer's certificate does not lead to the CA that it must lead to",
  "peer-refused": "the peer's certificate or evidence is not accepted",
  "rule-missing": "no rule says which peers to accept, so none is",
} as const satisfies ErrorTable;

export type RatlsErrorCode = keyof typeof RATLS_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class RatlsError extends CodedError<RatlsErrorCode> {}
