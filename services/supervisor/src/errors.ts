import { CodedError, type ErrorTable } from "@dstack/errors";

export const SUPERVISOR_ERRORS = {
  frozen: "the supervisor is shutting down and starts nothing more",
  "id-empty": "a process needs an id",
  "already-running": "the process runs",
  "not-found": "no process has this id",
  "still-started": "the process is to run; stop it first",
  "still-running": "the process has not ended yet",
  "not-spawned": "the program could not be started, or not be recorded",
  "stop-failed": "processes did not end",
  "bad-request": "the request is not a process configuration",
  "unusable-option": "an option of the command line cannot be used",
  "already-served": "another supervisor serves this socket",
} as const satisfies ErrorTable;

export type SupervisorErrorCode = keyof typeof SUPERVISOR_ERRORS;

/** A call that cannot be carried out. Its text goes to the caller; VMMs of other makers match on it. */
export class SupervisorError extends CodedError<SupervisorErrorCode> {}
