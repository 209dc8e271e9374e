import { CodedError } from "@dstack/errors";
import { BytesError } from "@dstack/bytes";
import type { BytesErrorCode } from "@dstack/bytes";
import { DerError } from "@dstack/der";
import type { DerErrorCode } from "@dstack/der";

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
  | "collateral-unavailable"
  | "collateral-rejected"
  | "policy-malformed"
  | "webcrypto-unavailable";

/** Why a check of well-formed evidence failed. */
export type FailureCode =
  | "signature-invalid"
  | "signature-algorithm"
  | "chain-length"
  | "chain-broken"
  | "chain-not-authority"
  | "chain-path-length"
  | "certificate-expired"
  | "certificate-not-yet-valid"
  | "certificate-revoked"
  | "certificate-unexpected"
  | "revocation-list-missing"
  | "revocation-list-mismatch"
  | "collateral-expired"
  | "collateral-not-yet-valid"
  | "collateral-mismatch"
  | "attestation-key-type"
  | "attestation-key-unbound"
  | "qe-vendor"
  | "qe-mismatch"
  | "qe-debug"
  | "qe-level-missing"
  | "platform-mismatch"
  | "tcb-level-missing"
  | "tcb-revoked"
  | "module-unknown"
  | "module-mismatch"
  | "module-level-missing"
  | "td-debug"
  | "td-attributes"
  | "enclave-debug"
  | "service-td"
  | "policy-status"
  | "policy-advisory"
  | "policy-platform"
  | "rtmr3-mismatch"
  | "report-data-mismatch"
  | "event-log-mismatch"
  | "mr-config-mismatch";

/** Every code that a failed check can carry: of its own, or of the reader that refused the bytes. */
export type RefusalCode = FailureCode | AttestErrorCode | DerErrorCode | BytesErrorCode;

/** Every refusal of this package. Match on `code`, never on the text. */
export class AttestError extends CodedError<AttestErrorCode> {}

/** Runs a reader; what it refuses becomes an AttestError of this code, an AttestError stays as it is. */
export function reading<T>(code: AttestErrorCode, what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof DerError || cause instanceof BytesError)
      throw new AttestError(code, `${what}: ${cause.message}`, { cause });
    throw cause;
  }
}
