import { CodedError, type ErrorTable } from "@dstack/errors";

export const VERIFY_ERRORS = {
  "evidence-malformed": "the evidence cannot be read at all",
} as const satisfies ErrorTable;

export type VerifyErrorCode = keyof typeof VERIFY_ERRORS;

/** Evidence that cannot be read at all. Match on `code`, never on the text. */
export class VerifyError extends CodedError<VerifyErrorCode> {}
