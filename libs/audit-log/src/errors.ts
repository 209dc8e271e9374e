import { CodedError } from "@dstack/errors";

export type AuditLogErrorCode = "audit-broken" | "audit-unwritable";

/** `audit-broken`: the chain does not hold. `audit-unwritable`: an entry is not on the disk. Match on `code`. */
export class AuditLogError extends CodedError<AuditLogErrorCode> {}
