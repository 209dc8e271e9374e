import { CodedError, type ErrorTable } from "@dstack/errors";

export const KEY_FOLDER_ERRORS = {
  "mark-missing": "the folder holds keys and no mark",
  "already-marked": "the folder has its mark",
  "mark-unreadable": "the folder's mark holds neither development nor production",
  "insecure-in-production": "an insecure setting meets a folder marked production",
} as const satisfies ErrorTable;

export type KeyFolderErrorCode = keyof typeof KEY_FOLDER_ERRORS;

/** A key folder that must not be used as the configuration asks. Match on `code`, never on the text. */
export class KeyFolderError extends CodedError<KeyFolderErrorCode> {}
