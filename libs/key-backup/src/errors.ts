import { CodedError } from "@dstack/errors";

export type KeyBackupErrorCode =
  | "file-malformed"
  | "backup-forged"
  | "operators-invalid"
  | "key-malformed"
  | "not-an-operator"
  | "wrong-backup"
  | "cannot-open";

/** Match on `code`, never on the text. No text holds a secret. */
export class KeyBackupError extends CodedError<KeyBackupErrorCode> {}
