import { CodedError, type ErrorTable } from "@dstack/errors";

export const VERIFIER_ERRORS = {
  usage: "the command line cannot be used",
  "config-invalid": "a setting of the verifier cannot be used",
  "file-unreadable": "the file of evidence cannot be read",
  overloaded: "too many verifications wait",
} as const satisfies ErrorTable;

export type VerifierErrorCode = keyof typeof VERIFIER_ERRORS;

/** Every refusal of this service that is not a verdict. Match on `code`, never on the text. */
export class VerifierError extends CodedError<VerifierErrorCode> {}
