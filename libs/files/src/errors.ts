import { CodedError, type ErrorTable } from "@dstack/errors";

export const FILES_ERRORS = {
  locked: "a living process holds the lock",
  "left-behind": "the holder of the lock is gone, and without node:ffi its lock cannot be taken over without a race",
} as const satisfies ErrorTable;

export type FilesErrorCode = keyof typeof FILES_ERRORS;

/** A lock could not be taken. The fact `pid` says whose it is; 0 where that is not known. */
export class FileLockError extends CodedError<FilesErrorCode> {}
