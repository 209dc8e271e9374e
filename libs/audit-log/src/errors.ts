export type AuditLogErrorCode = "audit-broken" | "audit-unwritable";

/** `audit-broken`: the chain does not hold. `audit-unwritable`: an entry is not on the disk. Match on `code`. */
export class AuditLogError extends Error {
  readonly code: AuditLogErrorCode;
  constructor(code: AuditLogErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AuditLogError";
    this.code = code;
  }
}
