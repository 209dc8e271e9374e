import { CodedError, type ErrorTable } from "@dstack/errors";

export const SYSTEM_CALL_ERRORS = {
  "system-call-failed": "the kernel refused a call; the facts name the call and the errno, such as EBADF",
} as const satisfies ErrorTable;

export type SystemCallErrorCode = keyof typeof SYSTEM_CALL_ERRORS;

export class SystemCallError extends CodedError<SystemCallErrorCode> {}
