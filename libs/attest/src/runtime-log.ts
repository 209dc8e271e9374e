/**
 * The guest's own log of runtime events, one JSON object a line:
 * {"event","payload": base64 [,"version": 2]}, or in guests up to 0.5.5 an event log entry with `imr` 3.
 */
import { parseJson } from "@dstack/bytes";
import { AttestError } from "./errors.ts";
import { decodeRuntimeEvents, MAX_EVENTS, parseEventLogEntry } from "./event-log.ts";
import { RUNTIME_RTMR } from "./runtime-event.ts";
import type { RuntimeEvent } from "./runtime-event.ts";

const MAX_LOG_CHARACTERS = 16 * 1024 * 1024;

/** One line with its newline. */
export function formatRuntimeLogLine(event: RuntimeEvent): string {
  return `${JSON.stringify({ event: event.event, payload: toBase64(event.payload), ...(event.version === 2 ? { version: 2 } : {}) })}\n`;
}

/**
 * All events of a log file of either form.
 * @throws AttestError `event-log-malformed`, also for a last line without newline (a torn write);
 *   `event-digest-mismatch`, `event-type-unsupported` for the older form, which carries digests
 */
export function parseRuntimeLog(text: string): RuntimeEvent[] {
  if (text === "") return [];
  if (text.length > MAX_LOG_CHARACTERS) throw malformed(`${text.length} characters, limit ${MAX_LOG_CHARACTERS}`);
  if (!text.endsWith("\n")) throw malformed("the last line is incomplete");
  const lines = text.slice(0, -1).split("\n");
  if (lines.length > MAX_EVENTS) throw malformed(`${lines.length} events, limit ${MAX_EVENTS}`);
  const objects = lines.map(parseLine);
  return objects[0] !== undefined && Object.hasOwn(objects[0], "imr") ? olderForm(objects) : objects.map(newerForm);
}

function parseLine(line: string, index: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(line, "line", { integersAsWritten: true });
  } catch (cause) {
    throw new AttestError("event-log-malformed", `runtime event log: line ${index + 1} is not JSON`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw malformed(`line ${index + 1} is not an object`);
  return value as Record<string, unknown>;
}

function newerForm(value: Record<string, unknown>, index: number): RuntimeEvent {
  const { event, payload, version, ...rest } = value;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw malformed(`line ${index + 1}: unknown key ${JSON.stringify(unknown.slice(0, 40))}`);
  if (typeof event !== "string" || typeof payload !== "string")
    throw malformed(`line ${index + 1}: event or payload is missing`);
  if (version !== undefined && version !== 1 && version !== 2) throw malformed(`line ${index + 1}: unknown version`);
  const bytes = fromBase64(payload);
  if (bytes === undefined) throw malformed(`line ${index + 1}: payload is not base64`);
  return version === 2 ? { event, payload: bytes, version } : { event, payload: bytes };
}

function olderForm(values: readonly Record<string, unknown>[]): RuntimeEvent[] {
  const entries = values.map(parseEventLogEntry);
  const stray = entries.findIndex(({ imr }) => imr !== RUNTIME_RTMR);
  if (stray >= 0) throw malformed(`line ${stray + 1}: event of RTMR${entries[stray]?.imr}, expected RTMR3`);
  return decodeRuntimeEvents(entries);
}

// Not Buffer: this runs in browsers too.
const toBase64 = (bytes: Uint8Array): string => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

/** Bytes of standard base64 with padding, or undefined for anything else, the sloppy forms that `atob` takes included. */
function fromBase64(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return toBase64(bytes) === text ? bytes : undefined;
}

const malformed = (text: string): AttestError => new AttestError("event-log-malformed", `runtime event log: ${text}`);
