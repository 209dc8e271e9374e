/**
 * Evidence of a confidential VM: quotes, event logs, attestations, app identity. Everything here is
 * pure; `@dstack/attest/node` checks signatures and fetches collateral.
 */
export { AttestError } from "./errors.ts";
export type { AttestErrorCode, FailureCode, RefusalCode } from "./errors.ts";

export { attributesAsNumber, parseQuote, parseTdReport, quoteBytesOf, tdReportOf, uncompressedPoint } from "./quote.ts";
export type { EnclaveReport, QeCertification, Quote, QuoteHeader, TdReport } from "./quote.ts";
export { concludeQuote, planQuote, readQuote, refuseCollateral } from "./quote-plan.ts";
export type { QuoteClaims } from "./quote-claims.ts";
export type { QuotePlan, QuoteVerification, VerifyOptions } from "./quote-plan.ts";
export { alreadyChecked, CheckedCollateral, concludeCollateral, planCollateral } from "./checked-collateral.ts";
export type { CollateralPlan } from "./checked-collateral.ts";
export type { CollateralDocuments } from "./collateral-documents.ts";
export { evaluatePolicy, policyEnd } from "./policy.ts";
export type { AgeLimit, QuotePolicy } from "./policy.ts";
export { describePolicy } from "./describe-policy.ts";
export { parsePolicy, parsePolicyText, POLICY_MEMBERS } from "./read-policy.ts";
export { daysLeftOf, DOCUMENT_NAMES, signedDocumentsOf } from "./signed-document.ts";
export type { DocumentKind, SignedDocument } from "./signed-document.ts";
export { fail, firstFailure, guarded, notApplicable, notBound, pass, warningsOf } from "./checks.ts";
export type { Check, CheckResult, Outcome } from "./checks.ts";
export { isoTime } from "./judgement.ts";
export type { Judgement, Period, SignatureToCheck } from "./judgement.ts";
export { collateralFromJson, collateralToJson } from "./collateral.ts";
export type { QuoteCollateral } from "./collateral.ts";
export { describeShortfall, describeTarget, partName, UPDATES } from "./tcb-shortfall.ts";
export type { ShortPart, TcbShortfall, TcbTarget, TcbUpdate } from "./tcb-shortfall.ts";
export { mergeTcbStatus, TCB_STATUSES } from "./tcb-status.ts";
export type { TcbRules, TcbStatus } from "./tcb-status.ts";
export { INTEL_ROOT_SHA256, intelTrustAnchor, trustAnchorFromPem } from "./trust-anchor.ts";
export type { TrustAnchor } from "./trust-anchor.ts";
export {
  basicConstraints,
  commonName,
  ecdsaSignature,
  maySignCertificates,
  OID,
  p256Point,
  parseCertificate,
  parseCertificateChain,
  parseRevocationList,
  refuseCritical,
} from "./certificate.ts";
export type { Certificate, CertificateExtension, RevocationList } from "./certificate.ts";
export { readPckExtension, SGX_EXTENSION } from "./pck-extension.ts";
export type { PckExtension } from "./pck-extension.ts";

export {
  customReportData,
  evidenceReportData,
  generatedKeysReportData,
  padReportData,
  reportDataFor,
  RESERVED_TAGS,
} from "./report-data.ts";

export {
  eventDigest,
  eventDigestV1,
  eventDigestV2,
  eventPreimage,
  eventsUntilBootDone,
  extendRegister,
  newRuntimeEvent,
  replayDigests,
  replayRtmr3,
  RUNTIME_EVENT_TYPE,
  RUNTIME_RTMR,
} from "./runtime-event.ts";
export type { RuntimeEvent } from "./runtime-event.ts";
export {
  decodeRuntimeEvents,
  encodeEventLogJson,
  entryToJson,
  parseEventLogJson,
  replayFirmwareRegister,
  replayRuntimeLog,
  runtimeEntries,
  stripFirmwarePayloads,
} from "./event-log.ts";
export type { EventLogEntry } from "./event-log.ts";
export { formatRuntimeLogLine, parseRuntimeLog } from "./runtime-log.ts";
export { parseCcel } from "./ccel.ts";

export { attestationFromQuote, fullEventLog, stripAttestation } from "./attestation.ts";
export {
  decodeAttestation,
  encodeAttestation,
  encodeAttestationV0,
  encodeAttestationV1,
  MAX_ATTESTATION_BYTES,
  quoteOfAttestation,
} from "./attestation-codec.ts";
export type { Attestation } from "./attestation.ts";
export { recogniseUnsupported, unsupportedEvidence } from "./unsupported-evidence.ts";
export type { UnsupportedPlatform } from "./unsupported-evidence.ts";
export { INTEL_COLLATERAL_SERVER, PUBLIC_COLLATERAL_SERVERS } from "./collateral-servers.ts";
export { BOOT_EVENT, BOOT_EVENTS } from "./boot-event-names.ts";
export { bootPrefix, readBootClaims } from "./boot-events.ts";
export type { BootClaims } from "./boot-events.ts";
export { checkAttestation, checkLaunchBinding } from "./attestation-checks.ts";
export type { AttestationCheckOptions, AttestationVerification } from "./attestation-checks.ts";
export { checkGpuEvidence, readGpuLaunch } from "./gpu-launch.ts";
export type { GpuLaunch } from "./gpu-launch.ts";
export { appInfo, mrAggregated, mrSystem, osImageHashOf } from "./app-info.ts";
export type { AppInfo, AppInfoInput } from "./app-info.ts";
export { decodeAppInfo, encodeAppInfo } from "./app-info-msgpack.ts";
export type { AppInfoRecord } from "./app-info-msgpack.ts";
export { encodeKeyProviderInfo, parseKeyProviderInfo } from "./key-provider-info.ts";
export type { KeyProviderInfo } from "./key-provider-info.ts";
export { KEY_PROVIDER_KINDS, mrConfigIdV1, mrConfigIdV2, mrConfigIdV3, parseMrConfigV3 } from "./mr-config-id.ts";
export type { KeyProviderKind, MrConfigV3 } from "./mr-config-id.ts";
