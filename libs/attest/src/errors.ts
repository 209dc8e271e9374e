import { asRefusal, CodedError, type ErrorTable } from "@dstack/errors";
import type { BytesErrorCode } from "@dstack/bytes";
import type { DerErrorCode } from "@dstack/der";

export const ATTEST_ERRORS = {
  "quote-malformed": "the bytes are no quote in Intel's layout, or break a rule of it",
  "quote-unsupported": "a quote of a version, type or key kind that is not read here",
  "report-data-invalid": "report data cannot be made of this content: its tag, hash or length is not allowed",
  "event-log-malformed": "the event log is no list of events with the fields of one",
  "event-digest-mismatch": "an event's digest is not the hash of what the event says",
  "event-type-unsupported": "an event of RTMR3 is no dstack runtime event",
  "event-missing": "an event that every boot measures is not in the log",
  "event-duplicate": "an event that is measured once stands twice before system-ready",
  "event-invalid": "the payload of an event is not what its name demands",
  "event-order": "events before system-ready stand in another order than the guest measures them",
  "event-unknown": "the log has events before system-ready that are not known here; it is judged without them",
  "gpu-evidence-mismatch": "the GPU attestation output is not the one that was measured at launch",
  "ccel-malformed": "the firmware's event log is no TCG log in the CC layout",
  "attestation-malformed": "the attestation is not in the layout of its version",
  "attestation-too-large": "the attestation has more bytes than are ever read",
  "attestation-unencodable":
    "this attestation holds what the asked version cannot carry, or more events than a reader takes",
  "platform-unsupported": "evidence of a platform other than Intel TDX",
  "app-info-malformed": "the app info in a certificate is not in its layout",
  "mr-config-malformed": "the mr_config document is not in its layout",
  "vm-config-malformed": "the vm_config text is no JSON object with the fields asked for",
  "certificate-malformed": "a certificate is not in the X.509 layout that is read here",
  "trust-anchor-invalid": "the root is not exactly one self-signed certificate, or not the pinned one",
  "collateral-malformed": "a document of the collateral is not in its layout",
  "collateral-unavailable": "no server gave the collateral, or too many platforms are asked for at once",
  "collateral-rejected": "a server gave collateral that does not verify; it is not kept",
  "policy-malformed": "the TCB policy has a field of the wrong kind, or one that is not known",
  "webcrypto-unavailable": "the browser has no WebCrypto here; it wants https or localhost",
} as const satisfies ErrorTable;

export type AttestErrorCode = keyof typeof ATTEST_ERRORS;

/** Why a check of well-formed evidence failed. */
export const FAILURES = {
  "signature-invalid": "a signature is not that of the key it must be of",
  "signature-algorithm": "signed by an algorithm other than ECDSA with SHA-256",
  "chain-length": "the certificate chain has too few or too many certificates",
  "chain-broken": "a certificate does not name the next one as its issuer",
  "chain-not-authority": "a certificate that signs others is no authority",
  "chain-path-length": "more authorities stand below a certificate than it allows",
  "certificate-expired": "a certificate has ended",
  "certificate-not-yet-valid": "a certificate has not begun",
  "certificate-revoked": "its issuer has revoked the certificate",
  "certificate-unexpected": "the certificate is of another name or kind than belongs here",
  "revocation-list-missing": "the revocation list of an issuer is not there",
  "revocation-list-mismatch": "the revocation list is of another issuer",
  "collateral-expired": "a document of the collateral has ended; fetch it again",
  "collateral-not-yet-valid": "a document of the collateral has not begun; is the clock right",
  "collateral-mismatch": "a document of the collateral is of another kind or version than the quote needs",
  "attestation-key-type": "the quote is signed by a kind of key that is not accepted",
  "attestation-key-unbound": "the quoting enclave's report does not name the key that signed the quote",
  "qe-vendor": "the quoting enclave is not Intel's",
  "qe-mismatch": "the quoting enclave differs from the one that Intel describes",
  "qe-debug": "the quoting enclave runs in debug mode",
  "qe-level-missing": "the quoting enclave is older than every version that Intel lists",
  "platform-mismatch": "the collateral is of another platform family or provider than the quote",
  "tcb-level-missing": "the platform is older than every TCB level that Intel lists",
  "tcb-revoked": "Intel has revoked the platform's TCB level",
  "module-unknown": "Intel lists no such TDX module",
  "module-mismatch": "the TDX module is signed by another than Intel, or has other attributes",
  "module-level-missing": "the TDX module is older than every version that Intel lists",
  "td-debug": "the trust domain runs in debug mode: its memory can be read from outside",
  "td-attributes": "the trust domain's attributes allow what must be off, or lack what must be on",
  "enclave-debug": "the enclave runs in debug mode",
  "service-td": "another trust domain may migrate or control this one",
  "policy-status": "the policy does not accept the TCB status",
  "policy-advisory": "the policy does not accept an advisory that applies",
  "policy-collateral": "the policy does not accept a document: it is too old, or of too early an evaluation",
  "policy-platform": "the policy does not accept a property of the platform",
  "rtmr3-mismatch": "the event log does not replay to the RTMR3 of the quote",
  "report-data-mismatch": "the quote's report data is not what it must be bound to",
  "event-log-mismatch": "the boot event log does not replay to the registers of the quote",
  "mr-config-mismatch": "the quote's MRCONFIGID is not what the app and the log call for",
} as const satisfies ErrorTable;

export type FailureCode = keyof typeof FAILURES;

/** Every code that a failed check can carry: of its own, or of the reader that refused the bytes. */
export type RefusalCode = FailureCode | AttestErrorCode | DerErrorCode | BytesErrorCode;

/** Every refusal of this package. Match on `code`, never on the text. */
export class AttestError extends CodedError<AttestErrorCode> {}

/** Runs a reader; what it refuses becomes an AttestError of this code, an AttestError stays as it is. */
export function reading<T>(code: AttestErrorCode, what: string, read: () => T): T {
  return asRefusal(read, (cause) =>
    cause instanceof AttestError ? undefined : new AttestError(code, `${what}: ${cause.message}`, { cause }),
  );
}
