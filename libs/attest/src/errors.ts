export type AttestErrorCode =
  | "quote-malformed"
  | "quote-unsupported"
  | "report-data-invalid"
  | "event-log-malformed"
  | "event-digest-mismatch"
  | "event-type-unsupported"
  | "event-missing"
  | "event-duplicate"
  | "event-invalid"
  | "event-order"
  | "event-unknown"
  | "gpu-evidence-mismatch"
  | "ccel-malformed"
  | "attestation-malformed"
  | "attestation-too-large"
  | "attestation-unencodable"
  | "platform-unsupported"
  | "app-info-malformed"
  | "mr-config-malformed"
  | "vm-config-malformed"
  | "certificate-malformed"
  | "trust-anchor-invalid"
  | "collateral-malformed"
  | "collateral-unavailable";

/** Every refusal of this package. Match on `code`, never on the text. */
export class AttestError extends Error {
  readonly code: AttestErrorCode;
  constructor(code: AttestErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AttestError";
    this.code = code;
  }
}
