/** Verdicts on evidence: the attestation, the OS image behind its registers, and what is missing for a verdict. */
export { VerifyError } from "./errors.ts";
export type { VerifyErrorCode } from "./errors.ts";
export { evidenceFromJson, evidenceRefusal } from "./evidence.ts";
export type { Evidence } from "./evidence.ts";
export { verifyOsImage } from "./os-image.ts";
export type { OsImageFailure, OsImageInput, OsImageVerdict } from "./os-image.ts";
export type { FoundImage, NotFound, OsImageMethod, OsImageSource } from "./os-image-source.ts";
export { downloadedImages, firstOf, imageIn, imagesBelow } from "./image-sources.ts";
export { KnownMeasurements } from "./known-measurements.ts";
export type { Measured } from "./known-measurements.ts";
export { SeenPlatforms } from "./seen-platforms.ts";
export type { PlatformCount } from "./seen-platforms.ts";
export { judgeChecks } from "./verdict.ts";
export type { Verdict } from "./verdict.ts";
export { EVIDENCE_REQUIRED, verifyEvidence } from "./verify-evidence.ts";
export type { EvidenceVerification, VerifyEvidenceOptions } from "./verify-evidence.ts";
