/**
 * Attestation version 1, msgpack maps with text keys in this order:
 * {version: 1, platform: {kind, data}, stack: {kind, data}}
 * tdx data = {quote, event_log}; event = {imr, event_type, digest, event, event_payload [, version: 2] [, preimage]}
 * stack data = {report_data, runtime_events, config}, of the kind `dstack-pod` also {report_data_payload}
 * runtime event = {event, payload [, version: 2]}
 * `quote` and `report_data` are arrays of integers on the wire, other bytes are bin; readers take both.
 * `preimage` is hex text, and bin from writers of before; readers take both.
 */
import { BytesError, equalBytes, parseBareHex, reportData, toHex, utf8 } from "@dstack/bytes";
import type { Attestation } from "./attestation.ts";
import { AttestError } from "./errors.ts";
import { isLogDigest, MAX_EVENTS } from "./event-log.ts";
import type { EventLogEntry } from "./event-log.ts";
import { MsgpackReader, packArray, packBin, packBytesAsArray, packMap, packText, packUint } from "./msgpack.ts";
import { reportDataFor } from "./report-data.ts";
import type { RuntimeEvent } from "./runtime-event.ts";
import { unsupportedEvidence } from "./unsupported-evidence.ts";

const OTHER_PLATFORMS = {
  "gcp-tdx": "dstack-gcp-tdx",
  "nitro-enclave": "dstack-nitro-enclave",
  "aws-nitro-tpm": "dstack-aws-nitro-tpm",
  "sev-snp": "dstack-amd-sev-snp",
} as const;

/** Whether a first byte opens a msgpack map. */
export const isV1Start = (byte: number): boolean => (byte >= 0x80 && byte <= 0x8f) || byte === 0xde || byte === 0xdf;

export function decodeV1(bytes: Uint8Array): Attestation {
  const reader = new MsgpackReader(bytes, "attestation", "attestation-malformed");
  const platform: Attestation["platform"] = {
    kind: "tdx",
    quote: readHead(reader),
    eventLog: reader.entry("event_log", (field) => readList(reader, field, readEntry)),
  };
  const stack = reader.entry("stack", () => readStack(reader));
  reader.end();
  const attestation: Attestation = { platform, ...stack };
  checkPayloadBinding(attestation);
  return attestation;
}

/** The quote, which comes before the logs. */
export const quoteOfV1 = (bytes: Uint8Array): Uint8Array =>
  readHead(new MsgpackReader(bytes, "attestation", "attestation-malformed"));

export function encodeV1(attestation: Attestation): Uint8Array {
  const { platform, reportDataPayload: payload } = attestation;
  return packMap([
    ["version", packUint(1)],
    [
      "platform",
      packMap([
        ["kind", packText("tdx")],
        [
          "data",
          packMap([
            ["quote", packBytesAsArray(platform.quote)],
            ["event_log", packArray(platform.eventLog.map(packEntry))],
          ]),
        ],
      ]),
    ],
    [
      "stack",
      packMap([
        ["kind", packText(payload === undefined ? "dstack" : "dstack-pod")],
        [
          "data",
          packMap([
            ["report_data", packBytesAsArray(attestation.reportData)],
            ["runtime_events", packArray(attestation.runtimeEvents.map(packEvent))],
            ["config", packText(attestation.config)],
            ...(payload === undefined ? [] : [["report_data_payload", packText(payload)] as const]),
          ]),
        ],
      ]),
    ],
  ]);
}

/** To the end of the quote, inside the map of the platform's data. */
function readHead(reader: MsgpackReader): Uint8Array {
  reader.mapOf(3, "attestation");
  const version = reader.entry("version", (field) => reader.uint(0xffff_ffff, field));
  if (version !== 1) throw reader.fail(`version ${version}, expected 1`);
  return reader.entry("platform", (platform) => {
    reader.mapOf(2, platform);
    const kind = reader.entry("kind", (field) => reader.text(field));
    if (kind !== "tdx") {
      const other = Object.entries(OTHER_PLATFORMS).find(([name]) => name === kind)?.[1];
      throw other === undefined
        ? reader.fail(`platform ${JSON.stringify(kind.slice(0, 40))}, expected tdx`)
        : unsupportedEvidence(other);
    }
    return reader.entry("data", () => {
      reader.mapOf(2, "platform data");
      return reader.entry("quote", (field) => reader.bytes(field));
    });
  });
}

function readStack(reader: MsgpackReader): Omit<Attestation, "platform"> {
  reader.mapOf(2, "stack");
  const kind = reader.entry("kind", (field) => reader.text(field));
  if (kind !== "dstack" && kind !== "dstack-pod")
    throw reader.fail(`stack ${JSON.stringify(kind.slice(0, 40))}, expected dstack or dstack-pod`);
  return reader.entry("data", () => {
    reader.mapOf(kind === "dstack" ? 3 : 4, "stack data");
    const claimed = reader.entry("report_data", (field) => reader.bytes(field));
    if (claimed.length !== 64) throw reader.fail(`report_data of ${claimed.length} bytes, expected 64`);
    const runtimeEvents = reader.entry("runtime_events", (field) => readList(reader, field, readEvent));
    const stack = {
      reportData: reportData(claimed),
      runtimeEvents,
      config: reader.entry("config", (field) => reader.text(field)),
    };
    return kind === "dstack"
      ? stack
      : { ...stack, reportDataPayload: reader.entry("report_data_payload", (field) => reader.text(field)) };
  });
}

function checkPayloadBinding({ reportData: claimed, reportDataPayload }: Attestation): void {
  if (reportDataPayload === undefined) return;
  if (!equalBytes(claimed, reportDataFor("app-data", utf8(reportDataPayload)))) {
    throw new AttestError(
      "attestation-malformed",
      "attestation: report_data is not SHA-512 of app-data and report_data_payload",
    );
  }
}

function readEntry(reader: MsgpackReader): EventLogEntry {
  const keys = reader.mapLength("event");
  if (keys < 5 || keys > 7) throw reader.fail(`event: ${keys} keys, expected 5 to 7`);
  const imr = reader.entry("imr", (field) => reader.uint(3, field));
  const eventType = reader.entry("event_type", (field) => reader.uint(0xffff_ffff, field));
  const digest = reader.entry("digest", (field) => reader.bytes(field));
  if (!isLogDigest(imr, digest)) throw reader.fail(`digest of ${digest.length} bytes, expected 48`);
  const event = reader.entry("event", (field) => reader.text(field));
  const entry = {
    imr,
    eventType,
    digest,
    event,
    eventPayload: reader.entry("event_payload", (field) => reader.bytes(field)),
  };
  if (keys === 5) return entry;
  const version = readVersion(reader);
  return keys === 6
    ? { ...entry, version }
    : { ...entry, version, preimage: reader.entry("preimage", (field) => readPreimage(reader, field)) };
}

function readPreimage(reader: MsgpackReader, field: string): Uint8Array {
  if (!reader.isText()) return reader.bytes(field);
  try {
    return parseBareHex(reader.text(field), field);
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause;
    throw reader.fail(cause.message, cause);
  }
}

function packEntry(entry: EventLogEntry): Uint8Array {
  const isV2 = entry.version === 2;
  if (!isV2 && entry.preimage !== undefined) {
    throw new AttestError(
      "attestation-unencodable",
      `attestation: V1 event "${entry.event}" has a preimage; only V2 events carry one`,
    );
  }
  return packMap([
    ["imr", packUint(entry.imr)],
    ["event_type", packUint(entry.eventType)],
    ["digest", packBin(entry.digest)],
    ["event", packText(entry.event)],
    ["event_payload", packBin(entry.eventPayload)],
    ...(isV2 ? [["version", packUint(2)] as const] : []),
    ...(entry.preimage === undefined ? [] : [["preimage", packText(toHex(entry.preimage))] as const]),
  ]);
}

function readEvent(reader: MsgpackReader): RuntimeEvent {
  const keys = reader.mapLength("runtime event");
  if (keys !== 2 && keys !== 3) throw reader.fail(`runtime event: ${keys} keys, expected 2 or 3`);
  const event = reader.entry("event", (field) => reader.text(field));
  const payload = reader.entry("payload", (field) => reader.bytes(field));
  return keys === 2 ? { event, payload } : { event, payload, version: readVersion(reader) };
}

const packEvent = ({ event, payload, version }: RuntimeEvent): Uint8Array =>
  packMap([
    ["event", packText(event)],
    ["payload", packBin(payload)],
    ...(version === 2 ? [["version", packUint(2)] as const] : []),
  ]);

/** Written for V2 events alone: the key's absence means version 1. */
function readVersion(reader: MsgpackReader): 2 {
  const version = reader.entry("version", (field) => reader.uint(0xffff_ffff, field));
  if (version !== 2) throw reader.fail(`event version ${version}, expected 2 or none`);
  return 2;
}

function readList<T>(reader: MsgpackReader, field: string, read: (reader: MsgpackReader) => T): T[] {
  const count = reader.arrayLength(field);
  if (count > MAX_EVENTS) throw reader.fail(`${field}: ${count} items, limit ${MAX_EVENTS}`);
  return Array.from({ length: count }, () => read(reader));
}
