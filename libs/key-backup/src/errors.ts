import { CodedError, type ErrorTable } from "@dstack/errors";

export const KEY_BACKUP_ERRORS = {
  "file-malformed": "the file is not in the layout of a backup, share or session",
  "backup-forged": "the backup is not signed by the key it names: it was changed",
  "operators-invalid": "the operators or the threshold of the backup make no sense",
  "key-malformed": "the operator's key is not in its format",
  "not-an-operator": "the key or share is of none of the backup's operators",
  "wrong-backup": "the share belongs to another backup",
  "cannot-open": "a sealed message was changed, or made for another key or purpose",
} as const satisfies ErrorTable;

export type KeyBackupErrorCode = keyof typeof KEY_BACKUP_ERRORS;

/** Match on `code`, never on the text. No text holds a secret. */
export class KeyBackupError extends CodedError<KeyBackupErrorCode> {}
