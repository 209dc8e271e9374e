import { CodedError } from "@dstack/errors";

export type VerifyErrorCode = "evidence-malformed";

/** Evidence that cannot be read at all. Match on `code`, never on the text. */
export class VerifyError extends CodedError<VerifyErrorCode> {}
