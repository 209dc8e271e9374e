import type { ErrorTable } from "@dstack/errors";

export const FILES_ERRORS = {
  locked: "a living process holds the lock",
} as const satisfies ErrorTable;

export type FilesErrorCode = keyof typeof FILES_ERRORS;
