/** The guest's own log of runtime events: one JSON line {"event","payload": base64 [,"version": 2]} each. */
import { AttestError } from "./errors.ts";
import { MAX_EVENTS } from "./event-log.ts";
import type { RuntimeEvent } from "./runtime-event.ts";

/** One line with its newline. */
export function formatRuntimeLogLine(event: RuntimeEvent): string {
  const payload = Buffer.from(event.payload).toString("base64");
  return `${JSON.stringify({ event: event.event, payload, ...(event.version === 2 ? { version: 2 } : {}) })}\n`;
}

/**
 * All events of a log file.
 * @throws AttestError `event-log-malformed`, also for a last line without newline (a torn write)
 */
export function parseRuntimeLog(text: string): RuntimeEvent[] {
  if (text === "") return [];
  if (!text.endsWith("\n")) throw malformed("the last line is incomplete");
  const lines = text.slice(0, -1).split("\n");
  if (lines.length > MAX_EVENTS) throw malformed(`${lines.length} events, limit ${MAX_EVENTS}`);
  return lines.map(parseLine);
}

function parseLine(line: string, index: number): RuntimeEvent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new AttestError("event-log-malformed", `runtime event log: line ${index + 1} is not JSON`, { cause });
  }
  if (typeof value !== "object" || value === null) throw malformed(`line ${index + 1} is not an object`);
  const { event, payload, version } = value as Record<string, unknown>;
  if (typeof event !== "string" || typeof payload !== "string") throw malformed(`line ${index + 1}: event or payload is missing`);
  const bytes = new Uint8Array(Buffer.from(payload, "base64"));
  if (Buffer.from(bytes).toString("base64") !== payload) throw malformed(`line ${index + 1}: payload is not base64`);
  if (version !== undefined && version !== 1 && version !== 2) throw malformed(`line ${index + 1}: unknown version`);
  return version === 2 ? { event, payload: bytes, version } : { event, payload: bytes };
}

const malformed = (text: string): AttestError => new AttestError("event-log-malformed", `runtime event log: ${text}`);
