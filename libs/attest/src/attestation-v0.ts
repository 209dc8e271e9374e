/**
 * Attestation version 0, SCALE:
 * 00, platform index, platform body, runtime events list{event text, payload bytes},
 * report data 64, config text. Nothing may follow.
 * TDX body (index 0): quote bytes, list{imr u32, type u32, digest bytes, event text, payload bytes}.
 */
import { concatBytes, reportData, scaleBytes, scaleList, ScaleReader, scaleText, u32le } from "@dstack/bytes";
import type { Attestation } from "./attestation.ts";
import { refusedAs } from "./cursor.ts";
import { AttestError } from "./errors.ts";
import { isLogDigest, MAX_EVENTS } from "./event-log.ts";
import type { EventLogEntry } from "./event-log.ts";
import { unsupportedEvidence } from "./unsupported-evidence.ts";

const OTHER_PLATFORMS = [
  undefined,
  "dstack-gcp-tdx",
  "dstack-nitro-enclave",
  "dstack-amd-sev-snp",
  "dstack-aws-nitro-tpm",
] as const;

export function decodeV0(bytes: Uint8Array): Attestation {
  const reader = new ScaleReader(bytes, "attestation", refusedAs("attestation-malformed"));
  const attestation: Attestation = {
    platform: {
      kind: "tdx",
      quote: readHead(reader),
      eventLog: reader.list("event log", MAX_EVENTS, 11, () => readEntry(reader)),
    },
    runtimeEvents: reader.list("runtime events", MAX_EVENTS, 2, () => ({
      event: reader.text("event name"),
      payload: reader.bytes("event payload"),
    })),
    reportData: reportData(reader.take(64, "report data")),
    config: reader.text("config"),
  };
  reader.end();
  return attestation;
}

/** The quote, which comes first. */
export const quoteOfV0 = (bytes: Uint8Array): Uint8Array =>
  readHead(new ScaleReader(bytes, "attestation", refusedAs("attestation-malformed")));

function readHead(reader: ScaleReader): Uint8Array {
  if (reader.u8("version") !== 0) throw reader.fail("not version 0");
  const index = reader.u8("platform");
  if (index !== 0) {
    const platform = OTHER_PLATFORMS[index];
    throw platform === undefined
      ? reader.fail(`platform index ${index}, expected 0 to 4`)
      : unsupportedEvidence(platform);
  }
  return reader.bytes("quote");
}

export function encodeV0(attestation: Attestation): Uint8Array {
  const { platform, runtimeEvents } = attestation;
  if (needsV1(attestation)) {
    throw new AttestError(
      "attestation-unencodable",
      "attestation: version 0 carries no V2 events and no report data payload; use version 1",
    );
  }
  return concatBytes(
    Uint8Array.of(0, 0),
    scaleBytes(platform.quote),
    scaleList(platform.eventLog, encodeEntry),
    scaleList(runtimeEvents, (event) => concatBytes(scaleText(event.event), scaleBytes(event.payload))),
    attestation.reportData,
    scaleText(attestation.config),
  );
}

/** Version 0 has no place for V2 events nor for a report data payload. */
export const needsV1 = ({ platform, runtimeEvents, reportDataPayload }: Attestation): boolean =>
  reportDataPayload !== undefined ||
  runtimeEvents.some((event) => event.version === 2) ||
  platform.eventLog.some((entry) => entry.version === 2);

function readEntry(reader: ScaleReader): EventLogEntry {
  const imr = reader.u32("imr");
  if (imr > 3) throw reader.fail(`imr ${imr}, expected 0 to 3`);
  const eventType = reader.u32("event type");
  const digest = reader.bytes("digest");
  if (!isLogDigest(imr, digest)) throw reader.fail(`digest of ${digest.length} bytes, expected 48`);
  return { imr, eventType, digest, event: reader.text("event"), eventPayload: reader.bytes("event payload") };
}

function encodeEntry(entry: EventLogEntry): Uint8Array {
  return concatBytes(
    u32le(entry.imr),
    u32le(entry.eventType),
    scaleBytes(entry.digest),
    scaleText(entry.event),
    scaleBytes(entry.eventPayload),
  );
}
