import { CodedError } from "@dstack/errors";

export type VerifierErrorCode = "usage" | "config-invalid" | "file-unreadable" | "overloaded";

/** Every refusal of this service that is not a verdict. Match on `code`, never on the text. */
export class VerifierError extends CodedError<VerifierErrorCode> {}
