/** The attestation object: evidence, runtime events, the report data and the VM's configuration in one. */
import { parseEventLogJson, readRuntimeEvents, runtimeEntries, stripFirmwarePayloads } from "./event-log.ts";
import type { EventLogEntry } from "./event-log.ts";
import { parseQuote } from "./quote.ts";
import type { RuntimeEvent } from "./runtime-event.ts";
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

/**
 * The object that an older peer's pair of quote and event log JSON stands for; the report data is the quoted one.
 * The log's digests are judged by `checkAttestation`, once the quote holds: nothing is hashed for a stranger here (DS #1267).
 * @throws AttestError
 */
export function attestationFromQuote(quote: Uint8Array, eventLogJson: string, config = ""): Attestation {
  const { reportData } = parseQuote(quote).body;
  const eventLog = parseEventLogJson(eventLogJson);
  return {
    platform: { kind: "tdx", quote, eventLog },
    runtimeEvents: readRuntimeEvents(eventLog),
    reportData,
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
