import { CodedError } from "@dstack/errors";

/** The kernel refused a call; the facts name the call and the errno, such as `EBADF`. */
export class SystemCallError extends CodedError<"system-call-failed"> {}
