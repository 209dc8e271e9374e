import { CodedError, type ErrorTable } from "@dstack/errors";

export const AUDIT_LOG_ERRORS = {
  "audit-broken": "the chain of the audit log does not hold: a line was changed, lost or added",
  "audit-unwritable": "an entry could not be brought to the disk, so what it would have recorded was not done",
} as const satisfies ErrorTable;

export type AuditLogErrorCode = keyof typeof AUDIT_LOG_ERRORS;

/** `audit-broken`: the chain does not hold. `audit-unwritable`: an entry is not on the disk. Match on `code`. */
export class AuditLogError extends CodedError<AuditLogErrorCode> {}
