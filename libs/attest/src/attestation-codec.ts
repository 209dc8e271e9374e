/** Attestation objects as bytes, of either version. */
import { decodeV0, encodeV0, needsV1, quoteOfV0 } from "./attestation-v0.ts";
import { decodeV1, encodeV1, isV1Start, quoteOfV1 } from "./attestation-v1.ts";
import type { Attestation } from "./attestation.ts";
import { AttestError } from "./errors.ts";
import { MAX_EVENTS } from "./event-log.ts";
import { recogniseUnsupported, unsupportedEvidence } from "./unsupported-evidence.ts";

export const MAX_ATTESTATION_BYTES = 10 * 1024 * 1024;

/**
 * Attestation bytes of either form: 0x00 = SCALE version 0, a msgpack map = version 1.
 * @throws AttestError `attestation-malformed`, `attestation-too-large`, `platform-unsupported`
 */
export function decodeAttestation(bytes: Uint8Array): Attestation {
  return isV0(bytes) ? decodeV0(bytes) : decodeV1(bytes);
}

/**
 * The quote of attestation bytes of either form, where it should hold before the rest is read: nothing behind it is looked at.
 * @throws AttestError `attestation-malformed`, `attestation-too-large`, `platform-unsupported`
 */
export function quoteOfAttestation(bytes: Uint8Array): Uint8Array {
  return isV0(bytes) ? quoteOfV0(bytes) : quoteOfV1(bytes);
}

function isV0(bytes: Uint8Array): boolean {
  const first = bytes[0];
  if (first === undefined) throw new AttestError("attestation-malformed", "Empty attestation bytes");
  if (bytes.length > MAX_ATTESTATION_BYTES) {
    throw new AttestError(
      "attestation-too-large",
      `attestation: ${bytes.length} bytes, limit ${MAX_ATTESTATION_BYTES}`,
    );
  }
  const other = recogniseUnsupported(bytes);
  if (other !== undefined) throw unsupportedEvidence(other);
  if (first === 0 || isV1Start(first)) return first === 0;
  throw new AttestError(
    "attestation-malformed",
    `Unknown attestation wire format: first byte 0x${first.toString(16).padStart(2, "0")}`,
  );
}

/**
 * Version 0 where it can carry the object, else version 1 (V2 events, a report data payload).
 * @throws AttestError `attestation-unencodable` for more events than readers take
 */
export function encodeAttestation(attestation: Attestation): Uint8Array {
  const count = Math.max(attestation.platform.eventLog.length, attestation.runtimeEvents.length);
  if (count > MAX_EVENTS)
    throw new AttestError("attestation-unencodable", `attestation: ${count} events, limit ${MAX_EVENTS}`);
  return needsV1(attestation) ? encodeV1(attestation) : encodeV0(attestation);
}

/** Version 0. @throws AttestError `attestation-unencodable` for V2 events or a report data payload */
export const encodeAttestationV0 = (attestation: Attestation): Uint8Array => encodeV0(attestation);
/** Version 1. */
export const encodeAttestationV1 = (attestation: Attestation): Uint8Array => encodeV1(attestation);
