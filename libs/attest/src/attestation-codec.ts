/** Attestation objects as bytes, of either version. */
import { decodeV0, encodeV0, needsV1 } from "./attestation-v0.ts";
import { decodeV1, encodeV1, isV1Start } from "./attestation-v1.ts";
import type { Attestation } from "./attestation.ts";
import { AttestError } from "./errors.ts";
import { recogniseUnsupported, unsupportedEvidence } from "./unsupported-evidence.ts";

export const MAX_ATTESTATION_BYTES = 10 * 1024 * 1024;

/**
 * Attestation bytes of either form: 0x00 = SCALE version 0, a msgpack map = version 1.
 * @throws AttestError `attestation-malformed`, `attestation-too-large`, `platform-unsupported`
 */
export function decodeAttestation(bytes: Uint8Array): Attestation {
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
  if (first === 0) return decodeV0(bytes);
  if (isV1Start(first)) return decodeV1(bytes);
  throw new AttestError(
    "attestation-malformed",
    `Unknown attestation wire format: first byte 0x${first.toString(16).padStart(2, "0")}`,
  );
}

/** Version 0 where it can carry the object, else version 1 (V2 events, a report data payload). */
export const encodeAttestation = (attestation: Attestation): Uint8Array =>
  needsV1(attestation) ? encodeV1(attestation) : encodeV0(attestation);

/** Version 0. @throws AttestError `attestation-unencodable` for V2 events or a report data payload */
export const encodeAttestationV0 = (attestation: Attestation): Uint8Array => encodeV0(attestation);
/** Version 1. */
export const encodeAttestationV1 = (attestation: Attestation): Uint8Array => encodeV1(attestation);
