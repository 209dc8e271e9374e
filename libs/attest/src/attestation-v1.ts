/**
 * Attestation version 1, msgpack maps with text keys in this order:
 * {version: 1, platform: {kind, data}, stack: {kind, data}}
 * tdx data {quote, event_log}; stack kind `dstack` {report_data, runtime_events, config},
 * `dstack-pod` the same and report_data_payload.
 * `quote` and `report_data` are arrays of integers on the wire, other bytes are bin; readers take both.
 */
import { decode, Encoder } from "@msgpack/msgpack";
import { equalBytes, reportData, utf8 } from "@dstack/bytes";
import type { Attestation } from "./attestation.ts";
import { AttestError } from "./errors.ts";
import { MAX_EVENTS } from "./event-log.ts";
import type { EventLogEntry } from "./event-log.ts";
import { reportDataFor } from "./report-data.ts";
import type { RuntimeEvent } from "./runtime-event.ts";

const LIMITS = { maxArrayLength: 4 * 1024 * 1024, maxBinLength: 4 * 1024 * 1024, maxStrLength: 4 * 1024 * 1024, maxMapLength: 64, maxExtLength: 0 };

/** Whether a first byte opens a msgpack map. */
export const isV1Start = (byte: number): boolean => (byte >= 0x80 && byte <= 0x8f) || byte === 0xde || byte === 0xdf;

export function decodeV1(bytes: Uint8Array): Attestation {
  let value: unknown;
  try {
    value = decode(bytes, LIMITS);
  } catch (cause) {
    throw new AttestError("attestation-malformed", "attestation: not a msgpack document", { cause });
  }
  const root = map(value, "attestation", ["version", "platform", "stack"]);
  if (root["version"] !== 1) throw malformed(`version ${String(root["version"])}, expected 1`);
  const platform = map(root["platform"], "platform", ["kind", "data"]);
  if (platform["kind"] !== "tdx") {
    throw new AttestError("platform-unsupported", `attestation: platform ${String(platform["kind"])} is not supported; expected tdx`);
  }
  const evidence = map(platform["data"], "platform data", ["quote", "event_log"]);
  const stack = map(root["stack"], "stack", ["kind", "data"]);
  const pod = stack["kind"] === "dstack-pod";
  if (!pod && stack["kind"] !== "dstack") throw malformed(`unknown stack ${String(stack["kind"])}`);
  const data = map(stack["data"], "stack data",
    ["report_data", "runtime_events", "config", ...(pod ? ["report_data_payload"] : [])]);
  const claimed = byteField(data["report_data"], "report_data");
  if (claimed.length !== 64) throw malformed(`report_data of ${claimed.length} bytes, expected 64`);
  const attestation: Attestation = {
    platform: {
      kind: "tdx",
      quote: byteField(evidence["quote"], "quote"),
      eventLog: list(evidence["event_log"], "event_log").map(decodeEntry),
    },
    runtimeEvents: list(data["runtime_events"], "runtime_events").map(decodeEvent),
    reportData: reportData(claimed),
    config: text(data["config"], "config"),
    ...(pod ? { reportDataPayload: text(data["report_data_payload"], "report_data_payload") } : {}),
  };
  checkPayloadBinding(attestation);
  return attestation;
}

export function encodeV1(attestation: Attestation): Uint8Array {
  const { platform } = attestation;
  const payload = attestation.reportDataPayload;
  return new Encoder().encode({
    version: 1,
    platform: { kind: "tdx", data: { quote: [...platform.quote], event_log: platform.eventLog.map(encodeEntry) } },
    stack: {
      kind: payload === undefined ? "dstack" : "dstack-pod",
      data: {
        report_data: [...attestation.reportData],
        runtime_events: attestation.runtimeEvents.map(({ event, payload: bytes, version }) =>
          ({ event, payload: bytes, ...(version === 2 ? { version } : {}) })),
        config: attestation.config,
        ...(payload === undefined ? {} : { report_data_payload: payload }),
      },
    },
  });
}

function checkPayloadBinding({ reportData: claimed, reportDataPayload }: Attestation): void {
  if (reportDataPayload === undefined) return;
  if (!equalBytes(claimed, reportDataFor("app-data", utf8(reportDataPayload)))) {
    throw malformed("report_data is not SHA-512 of app-data and report_data_payload");
  }
}

function encodeEntry(entry: EventLogEntry): Record<string, unknown> {
  return {
    imr: entry.imr,
    event_type: entry.eventType,
    digest: entry.digest,
    event: entry.event,
    event_payload: entry.eventPayload,
    ...(entry.version === 2 ? { version: 2 } : {}),
    ...(entry.preimage === undefined ? {} : { preimage: entry.preimage }),
  };
}

function decodeEntry(value: unknown): EventLogEntry {
  const entry = map(value, "event", ["imr", "event_type", "digest", "event", "event_payload"], ["version", "preimage"]);
  const imr = integer(entry["imr"], 3, "imr");
  const digest = byteField(entry["digest"], "digest");
  if (digest.length !== 48 && !(digest.length === 0 && imr === 3)) throw malformed(`digest of ${digest.length} bytes, expected 48`);
  return {
    imr,
    eventType: integer(entry["event_type"], 0xffff_ffff, "event_type"),
    digest,
    event: text(entry["event"], "event"),
    eventPayload: byteField(entry["event_payload"], "event_payload"),
    ...version(entry["version"]),
    ...(entry["preimage"] === undefined || entry["preimage"] === null ? {} : { preimage: byteField(entry["preimage"], "preimage") }),
  };
}

function decodeEvent(value: unknown): RuntimeEvent {
  const event = map(value, "runtime event", ["event", "payload"], ["version"]);
  return { event: text(event["event"], "event"), payload: byteField(event["payload"], "payload"), ...version(event["version"]) };
}

function version(value: unknown): { version?: 2 } {
  if (value === undefined || value === null || value === 1) return {};
  if (value !== 2) throw malformed("unknown event version");
  return { version: 2 };
}

function map(value: unknown, what: string, required: readonly string[], optional: readonly string[] = []): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) throw malformed(`${what} is not a map`);
  const record = value as Record<string, unknown>;
  for (const key of required) if (!Object.hasOwn(record, key)) throw malformed(`${what}: ${key} is missing`);
  for (const key of Object.keys(record)) {
    if (!required.includes(key) && !optional.includes(key)) throw malformed(`${what}: unknown key ${key.slice(0, 40)}`);
  }
  return record;
}

function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > MAX_EVENTS) throw malformed(`${what} is not a list of at most ${MAX_EVENTS}`);
  return value;
}

function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw malformed(`${what} is not text`);
  return value;
}

function integer(value: unknown, max: number, what: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > max) throw malformed(`${what} is not 0 to ${max}`);
  return value;
}

function byteField(value: unknown, what: string): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (!Array.isArray(value)) throw malformed(`${what} is not bytes`);
  return Uint8Array.from(value, (item: unknown) => integer(item, 255, what));
}

const malformed = (problem: string): AttestError => new AttestError("attestation-malformed", `attestation: ${problem}`);
