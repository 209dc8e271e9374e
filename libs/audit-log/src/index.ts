/** Decisions on record: appended, chained by hash, and on the disk before they take effect. */
export { AuditLog } from "./audit-log.ts";
export type { AuditLogOptions } from "./audit-log.ts";
export { AuditLogError } from "./errors.ts";
export type { AuditLogErrorCode } from "./errors.ts";
export { readLog } from "./segments.ts";
export type { LogItem } from "./segments.ts";
export type { AuditEntry, AuditRecord, ChainHead } from "./chain.ts";
