import { CodedError } from "@dstack/errors";

export type SupervisorErrorCode =
  | "frozen"
  | "id-empty"
  | "already-running"
  | "not-found"
  | "still-started"
  | "still-running"
  | "not-spawned"
  | "stop-failed"
  | "bad-request"
  | "unusable-option"
  | "already-served";

/** A call that cannot be carried out. Its text goes to the caller; VMMs of other makers match on it. */
export class SupervisorError extends CodedError<SupervisorErrorCode> {}
