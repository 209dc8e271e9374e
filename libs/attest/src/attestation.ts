/** The attestation object: evidence, runtime events, the report data and the VM's configuration in one. */
import { AttestError } from "./errors.ts";
import { decodeV0, encodeV0, needsV1 } from "./attestation-v0.ts";
import { decodeV1, encodeV1, isV1Start } from "./attestation-v1.ts";
import { decodeRuntimeEvents, parseEventLogJson, runtimeEntries, stripFirmwarePayloads } from "./event-log.ts";
import type { EventLogEntry } from "./event-log.ts";
import { parseQuote } from "./quote.ts";
import type { RuntimeEvent } from "./runtime-event.ts";
import { recogniseUnsupported, unsupportedEvidence } from "./unsupported-evidence.ts";
import type { ReportData } from "@dstack/bytes";

export interface Attestation {
  /** The platform's evidence. TDX is the one platform that is implemented. */
  readonly platform: { readonly kind: "tdx"; readonly quote: Uint8Array; readonly eventLog: readonly EventLogEntry[] };
  readonly runtimeEvents: readonly RuntimeEvent[];
  readonly reportData: ReportData;
  /** vm_config JSON text; some older emitters put their whole system configuration here. */
  readonly config: string;
  /** Only with the `dstack-pod` stack: report data is SHA-512("app-data:" payload). */
  readonly reportDataPayload?: string;
}

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

/**
 * The object that an older peer's pair of quote and event log JSON stands for; the report data is the quoted one.
 * @throws AttestError
 */
export function attestationFromQuote(quote: Uint8Array, eventLogJson: string, config = ""): Attestation {
  const eventLog = parseEventLogJson(eventLogJson);
  return {
    platform: { kind: "tdx", quote, eventLog },
    runtimeEvents: decodeRuntimeEvents(eventLog),
    reportData: parseQuote(quote).body.reportData,
    config,
  };
}

/**
 * The object as certificates carry it: runtime events without digest (it follows from the event)
 * and of the firmware's log only the three ACPI events. Everything that verification needs stays.
 */
export function stripAttestation(attestation: Attestation): Attestation {
  const eventLog = stripFirmwarePayloads(attestation.platform.eventLog)
    .filter((entry) => entry.imr === 3 || entry.event !== "")
    .map((entry) => (entry.imr === 3 ? withoutDigest(entry) : entry));
  return { ...attestation, platform: { ...attestation.platform, eventLog } };
}

/**
 * The whole log as older readers want it beside the quote: every event with its digest, firmware
 * payloads left out.
 */
export function fullEventLog(attestation: Attestation): EventLogEntry[] {
  const firmware = stripFirmwarePayloads(attestation.platform.eventLog.filter((entry) => entry.imr !== 3));
  return [...firmware, ...runtimeEntries(attestation.runtimeEvents)];
}

function withoutDigest({ imr, eventType, event, eventPayload, version }: EventLogEntry): EventLogEntry {
  const digest = new Uint8Array(0);
  return { imr, eventType, digest, event, eventPayload, ...(version === 2 ? { version } : {}) };
}
