/**
 * The event log in its JSON form (guest agent, certificates, verifier requests): an array of
 * {imr 0..3, event_type, digest hex, event, event_payload hex [, version 2] [, preimage hex]}.
 */
import { BytesError, equalBytes, hash48, parseBareHex, parseJson, toHex, utf8 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { excerpt } from "@dstack/errors";
import { AttestError } from "./errors.ts";
import { isIntegerIn } from "./numbers.ts";
import { eventDigest, eventPreimage, replayDigests, RUNTIME_EVENT_TYPE, RUNTIME_RTMR } from "./runtime-event.ts";
import type { RuntimeEvent } from "./runtime-event.ts";

export interface EventLogEntry {
  /** Register, 0 to 3. */
  readonly imr: number;
  readonly eventType: number;
  /** 48 bytes, or none where the log was stripped (only runtime events may be). */
  readonly digest: Uint8Array;
  /** Name of a runtime event; "" for firmware events. */
  readonly event: string;
  readonly eventPayload: Uint8Array;
  readonly version?: 1 | 2;
  readonly preimage?: Uint8Array;
}

const MAX_LOG_BYTES = 10 * 1024 * 1024;
export const MAX_EVENTS = 65_536;
const EV_NO_ACTION = 3;

/**
 * Entries of the JSON form, in order. Digests are not judged here: see `decodeRuntimeEvents`.
 * @throws AttestError `event-log-malformed`
 */
export function parseEventLogJson(text: string): EventLogEntry[] {
  if (text.length > MAX_LOG_BYTES) throw malformed(`${text.length} characters, limit ${MAX_LOG_BYTES}`);
  let value: unknown;
  try {
    value = parseJson(text, "event log", { integersAsWritten: true });
  } catch (cause) {
    throw new AttestError("event-log-malformed", "event log: not valid JSON", { cause });
  }
  if (!Array.isArray(value)) throw malformed("expected a JSON array");
  if (value.length > MAX_EVENTS) throw malformed(`${value.length} events, limit ${MAX_EVENTS}`);
  return value.map(parseEventLogEntry);
}

/** The JSON form of a log: every entry with the digest that it has. */
export function encodeEventLogJson(entries: readonly EventLogEntry[]): string {
  return JSON.stringify(entries.map(entryToJson));
}

/** One entry as its JSON object, keys in the order of the wire. */
export function entryToJson(entry: EventLogEntry): Record<string, unknown> {
  return {
    imr: entry.imr,
    event_type: entry.eventType,
    digest: toHex(entry.digest),
    event: entry.event,
    event_payload: toHex(entry.eventPayload),
    ...(entry.version === 2 ? { version: 2 } : {}),
    ...(entry.preimage === undefined ? {} : { preimage: toHex(entry.preimage) }),
  };
}

/** Runtime events as log entries of RTMR3, each with its digest. */
export function runtimeEntries(events: readonly RuntimeEvent[]): EventLogEntry[] {
  return events.map((event) => ({
    imr: RUNTIME_RTMR,
    eventType: RUNTIME_EVENT_TYPE,
    digest: eventDigest(event),
    event: event.event,
    eventPayload: event.payload,
    ...(event.version === 2 ? { version: 2 as const, preimage: eventPreimage(event) } : {}),
  }));
}

/**
 * The runtime events of a log, as it tells them: only RTMR3 entries count, and their type is the
 * runtime type. Nothing is hashed, so anybody's log may be read before its quote is believed.
 * @throws AttestError `event-type-unsupported`
 */
export function readRuntimeEvents(entries: readonly EventLogEntry[]): RuntimeEvent[] {
  return entries.filter((entry) => entry.imr === RUNTIME_RTMR).map(runtimeEventOf);
}

/**
 * As `readRuntimeEvents`, each checked: a digest or preimage that the log gives is the one computed
 * from name and payload. Replay exactly what this returns, so that what was checked is what is measured.
 * @throws AttestError `event-type-unsupported`, `event-digest-mismatch`
 */
export function decodeRuntimeEvents(entries: readonly EventLogEntry[]): RuntimeEvent[] {
  return measuredEvents(entries).map(({ event }) => event);
}

/**
 * The checked events of a log and the RTMR3 that they replay to, each hashed once.
 * @throws AttestError as `decodeRuntimeEvents`
 */
export function replayRuntimeLog(entries: readonly EventLogEntry[]): {
  readonly events: readonly RuntimeEvent[];
  readonly rtmr3: Hash48;
} {
  const measured = measuredEvents(entries);
  return {
    events: measured.map(({ event }) => event),
    rtmr3: replayDigests(measured.map(({ digest }) => digest)),
  };
}

interface MeasuredEvent {
  readonly event: RuntimeEvent;
  readonly digest: Hash48;
}

function measuredEvents(entries: readonly EventLogEntry[]): MeasuredEvent[] {
  return entries
    .filter((entry) => entry.imr === RUNTIME_RTMR)
    .map((entry) => {
      const event = runtimeEventOf(entry);
      const digest = eventDigest(event);
      requireMeasured(entry, event, digest);
      return { event, digest };
    });
}

/** What the log says of an event's digest and preimage is what the event has. @throws AttestError `event-digest-mismatch` */
export function requireMeasured(entry: EventLogEntry, event: RuntimeEvent, digest: Hash48): void {
  if (entry.digest.length > 0 && !equalBytes(entry.digest, digest)) {
    throw mismatch(entry.event, "digest", toHex(digest), toHex(entry.digest));
  }
  if (entry.preimage !== undefined && !equalBytes(entry.preimage, eventPreimage(event))) {
    throw mismatch(entry.event, "preimage", toHex(eventPreimage(event)), toHex(entry.preimage));
  }
}

function runtimeEventOf({ eventType, event, eventPayload: payload, version }: EventLogEntry): RuntimeEvent {
  if (eventType !== RUNTIME_EVENT_TYPE) {
    throw new AttestError(
      "event-type-unsupported",
      `event log: RTMR3 event "${excerpt(event)}" has type ${eventType}, expected ${RUNTIME_EVENT_TYPE}`,
    );
  }
  return version === 2 ? { event, payload, version } : { event, payload };
}

/**
 * The value of RTMR0, 1 or 2 by the digests of the log.
 * @returns undefined where the log carries no digest for one of its events, or no event at all
 */
export function replayFirmwareRegister(entries: readonly EventLogEntry[], imr: 0 | 1 | 2): Hash48 | undefined {
  const extended = entries.filter((entry) => entry.imr === imr && entry.eventType !== EV_NO_ACTION);
  if (extended.length === 0 || extended.some((entry) => entry.digest.length !== 48)) return undefined;
  return replayDigests(extended.map((entry) => hash48(entry.digest)));
}

const EV_PLATFORM_CONFIG_FLAGS = 10;
const ACPI_PAYLOAD = utf8("ACPI DATA");
const ACPI_NAMES: readonly string[] = ["acpi-loader", "acpi-rsdp", "acpi-tables"];

/**
 * The log without firmware payloads: certificates and answers carry digests, which is all that
 * replay needs. The three ACPI events of RTMR0 keep their payload.
 */
export function stripFirmwarePayloads(entries: readonly EventLogEntry[]): EventLogEntry[] {
  return nameAcpiEvents(entries).map((entry) =>
    entry.imr === RUNTIME_RTMR || (isAcpi(entry) && ACPI_NAMES.includes(entry.event))
      ? entry
      : { ...entry, eventPayload: new Uint8Array(0) },
  );
}

/** The log with the names of the three ACPI events of RTMR0, by which verifiers find them. */
export function nameAcpiEvents(entries: readonly EventLogEntry[]): EventLogEntry[] {
  let acpi = 0;
  return entries.map((entry) => {
    const name = isAcpi(entry) ? ACPI_NAMES[acpi++] : undefined;
    return name === undefined ? entry : { ...entry, event: name };
  });
}

function isAcpi(entry: EventLogEntry): boolean {
  return (
    entry.imr === 0 && entry.eventType === EV_PLATFORM_CONFIG_FLAGS && equalBytes(entry.eventPayload, ACPI_PAYLOAD)
  );
}

/** Only runtime events may come without a digest: it follows from the event. */
export const isLogDigest = (imr: number, digest: Uint8Array): boolean =>
  digest.length === 48 || (digest.length === 0 && imr === RUNTIME_RTMR);

/** One JSON object of a log; `index` is for the error. @throws AttestError `event-log-malformed` */
export function parseEventLogEntry(value: unknown, index: number): EventLogEntry {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw malformed(`event ${index} is not an object`);
  const entry = value as Record<string, unknown>;
  const imr = integerField(entry["imr"], 3, index, "imr");
  const eventType = integerField(entry["event_type"], 0xffff_ffff, index, "event_type");
  // Undefined alone is absent: null is no text to the reference's readers.
  const { event = "", version = 1 } = entry;
  if (typeof event !== "string") throw malformed(`event ${index}: event is ${show(event)}, expected text`);
  const digest = hexField(entry["digest"], index, "digest");
  if (!isLogDigest(imr, digest)) throw malformed(`event ${index}: digest of ${digest.length} bytes, expected 48`);
  if (version !== 1 && version !== 2) throw malformed(`event ${index}: version ${show(version)}, expected 1 or 2`);
  const eventPayload = hexField(entry["event_payload"], index, "event_payload");
  const preimage = entry["preimage"] ?? undefined;
  // One shape for almost all of up to 65,536 entries.
  if (version === 1 && preimage === undefined) return { imr, eventType, digest, event, eventPayload };
  return {
    imr,
    eventType,
    digest,
    event,
    eventPayload,
    ...(version === 2 ? { version } : {}),
    ...(preimage === undefined ? {} : { preimage: hexField(entry["preimage"], index, "preimage") }),
  };
}

function integerField(value: unknown, max: number, index: number, name: string): number {
  if (!isIntegerIn(value, 0, max)) throw malformed(`event ${index}: ${name} is ${show(value)}, expected 0 to ${max}`);
  return value;
}

/** Most events of a stripped log have no digest. */
const NO_BYTES = new Uint8Array(0);

function hexField(value: unknown, index: number, name: string): Uint8Array {
  if (value === "" || value === undefined) return NO_BYTES;
  if (typeof value !== "string") throw malformed(`event ${index}: ${name} is ${show(value)}, expected hex text`);
  try {
    return parseBareHex(value, name);
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause;
    throw new AttestError("event-log-malformed", `event log: event ${index}: ${cause.message}`, { cause });
  }
}

const show = (value: unknown): string =>
  Number.isNaN(value) ? "a number that is no integer" : (JSON.stringify(value) ?? "missing").slice(0, 80);

const malformed = (text: string): AttestError => new AttestError("event-log-malformed", `event log: ${text}`);

const mismatch = (event: string, what: string, expected: string, got: string): AttestError =>
  new AttestError(
    "event-digest-mismatch",
    `event log: ${what} of "${excerpt(event)}": expected ${excerpt(expected)}, got ${excerpt(got)}`,
  );
