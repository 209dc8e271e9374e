import { notBound, type Check } from "@dstack/attest";
import { verifyAttestation, type AttestationVerification, type VerifyAttestationOptions } from "@dstack/attest/node";
import type { Evidence } from "./evidence.ts";
import type { KnownMeasurements } from "./known-measurements.ts";
import { verifyOsImage, type OsImageVerdict } from "./os-image.ts";
import type { OsImageSource } from "./os-image-source.ts";

export interface VerifyEvidenceOptions extends Omit<VerifyAttestationOptions, "vmConfig"> {
  readonly images: OsImageSource;
  readonly known?: KnownMeasurements;
}

export interface EvidenceVerification {
  /** Those of the attestation, then those of the OS image. */
  readonly checks: readonly Check[];
  readonly attestation: AttestationVerification;
  /** Unix seconds: whoever keeps the verdict asks again before it. Undefined where the attestation failed. */
  readonly goodUntil: number | undefined;
  /** Undefined where the attestation already failed: unproven registers are not compared. */
  readonly osImage: OsImageVerdict | undefined;
}

/** What every verdict on evidence needs, whatever else the caller wants. */
export const EVIDENCE_REQUIRED: readonly string[] = [
  "rtmr3-replay",
  "app-identity",
  "os-image",
  "firmware",
  "virtual-hardware",
  "kernel",
  "command-line-and-initrd",
];

/** Verifies evidence in full: quote, events, identity, and the OS image behind its registers. */
export async function verifyEvidence(
  evidence: Evidence,
  options: VerifyEvidenceOptions,
): Promise<EvidenceVerification> {
  const { images, known, ...rest } = options;
  const attestation = await verifyAttestation(evidence.attestation, { ...rest, vmConfig: evidence.vmConfig });
  if (!attestation.ok) {
    return {
      checks: [
        ...attestation.checks,
        { name: "os-image", ...notBound("not compared: the quote itself is not verified") },
      ],
      attestation,
      goodUntil: undefined,
      osImage: undefined,
    };
  }
  const osImage = await verifyOsImage({
    report: attestation.report,
    eventLog: evidence.attestation.platform.eventLog,
    vmConfig: evidence.vmConfig,
    images,
    known,
    signal: rest.signal,
    acpiTables: "computed-or-logged",
  });
  return {
    checks: [...attestation.checks, ...osImage.checks],
    attestation,
    goodUntil: attestation.quote.goodUntil,
    osImage,
  };
}
