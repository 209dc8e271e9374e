/** Sealed backups of a KMS's root keys, and the operators' shares of the key that opens them. */
export { KeyBackupError } from "./errors.ts";
export type { KeyBackupErrorCode } from "./errors.ts";
export { generateOperatorKey, operatorKeyFromPem, parseOperatorPublicKey } from "./operator-key.ts";
export type { OperatorKey } from "./operator-key.ts";
export { backupHash, decodeBackup, encodeBackup, headerHash, MAX_BACKUP_BYTES, MAX_OPERATORS } from "./backup.ts";
export type { Backup, BackupHeader, SealedShare } from "./backup.ts";
export { decodeSession, encodeSession, restoreReportData } from "./restore-session.ts";
export type { RestoreSession } from "./restore-session.ts";
export { decodeShare, encodeShare, MAX_SHARE_BYTES } from "./share.ts";
export type { ResealedShare } from "./share.ts";
export { openOwnShare, openResealedShare, resealShare, sealOperatorShare } from "./share-boxes.ts";
