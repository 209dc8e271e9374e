import {
  attestationFromQuote,
  decodeRuntimeEvents,
  parseCcel,
  parseEventLogJson,
  parseQuote,
  parseRuntimeLog,
  runtimeEntries,
  tdReportOf,
  type EventLogEntry,
  type RuntimeEvent,
  type TdReport,
} from "@dstack/attest";
import { equalBytes, parseHex, parseHexOfLength, utf8 } from "@dstack/bytes";
import { attestationOf, jsonOf, readEvidence, textOf } from "./read-evidence.ts";

/** An event log and whatever came with it that its replay can be held against. */
export interface FoundEventLog {
  readonly kind: "event log" | "CCEL" | "runtime log" | "GetQuote answer" | "tcb_info" | "attestation";
  readonly entries: readonly EventLogEntry[];
  /** The checked events of RTMR3, which are the ones replayed. */
  readonly runtimeEvents: readonly RuntimeEvent[];
  /** Registers to compare with: of the quote, or as the guest states them. */
  readonly registers?: {
    readonly from: "quote" | "tcb_info";
    readonly values: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  };
  /** Report data that was stated beside the quote, and that in it. */
  readonly reportData?: { readonly stated: Uint8Array; readonly quoted: Uint8Array };
  /** The manifest that was stated beside the log. */
  readonly appCompose?: string;
}

const CCEL_SIGNATURE = utf8("Spec ID Event03\0");
const CCEL_SIGNATURE_AT = 32;
const REGISTERS = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"] as const;

/**
 * Finds the event log in a file, by its content.
 * @returns undefined where there is none
 * @throws AttestError, BytesError where it is there and broken
 */
export function readEventLog(bytes: Uint8Array): FoundEventLog | undefined {
  if (equalBytes(bytes.subarray(CCEL_SIGNATURE_AT, CCEL_SIGNATURE_AT + CCEL_SIGNATURE.length), CCEL_SIGNATURE)) {
    return { kind: "CCEL", entries: parseCcel(bytes), runtimeEvents: [] };
  }
  const text = textOf(bytes);
  if (text !== undefined) {
    const start = text.trimStart()[0];
    if (start === "[") return fromEntries("event log", parseEventLogJson(text));
    if (start === "{") {
      const whole = jsonOf(text);
      // Several lines, or one that is an event by itself: the guest's own file.
      return whole === undefined || Object.hasOwn(whole, "payload") || Object.hasOwn(whole, "imr")
        ? fromLines(text)
        : fromObject(whole);
    }
  }
  const evidence = readEvidence(bytes);
  const attestation = evidence === undefined ? undefined : attestationOf(evidence);
  if (attestation === undefined) return undefined;
  return {
    kind: "attestation",
    entries: attestation.platform.eventLog,
    runtimeEvents: attestation.runtimeEvents,
    ...fromQuote(attestation.platform.quote, attestation.reportData),
  };
}

function fromObject(value: Record<string, unknown>): FoundEventLog | undefined {
  const inner = typeof value["tcb_info"] === "string" ? jsonOf(value["tcb_info"]) : value["tcb_info"];
  if (typeof inner === "object" && inner !== null) return fromObject(inner as Record<string, unknown>);
  const log = logText(value["event_log"]);
  const { quote, attestation } = value;
  if (log !== undefined && typeof quote === "string" && quote !== "") {
    const stated = value["report_data"];
    const found = attestationFromQuote(parseHex(quote, "quote"), log);
    return {
      kind: "GetQuote answer",
      entries: found.platform.eventLog,
      runtimeEvents: found.runtimeEvents,
      ...fromQuote(
        found.platform.quote,
        typeof stated === "string" && stated !== "" ? parseHexOfLength(stated, 64, "report_data") : undefined,
      ),
    };
  }
  if (typeof attestation === "string" && attestation !== "") return readEventLog(parseHex(attestation, "attestation"));
  if (log === undefined) return undefined;
  const appCompose = value["app_compose"];
  return {
    ...fromEntries("tcb_info", parseEventLogJson(log)),
    ...statedRegisters(value),
    ...(typeof appCompose === "string" ? { appCompose } : {}),
  };
}

/** The guest's own file, one event a line. */
function fromLines(text: string): FoundEventLog {
  const runtimeEvents = parseRuntimeLog(text.endsWith("\n") ? text : `${text}\n`);
  return { kind: "runtime log", entries: runtimeEntries(runtimeEvents), runtimeEvents };
}

const fromEntries = (kind: FoundEventLog["kind"], entries: readonly EventLogEntry[]): FoundEventLog => ({
  kind,
  entries,
  runtimeEvents: decodeRuntimeEvents(entries),
});

function fromQuote(quote: Uint8Array, stated: Uint8Array | undefined): Pick<FoundEventLog, "registers" | "reportData"> {
  const report: TdReport = tdReportOf(parseQuote(quote));
  return {
    registers: { from: "quote", values: report.rtmr },
    ...(stated === undefined ? {} : { reportData: { stated, quoted: report.reportData } }),
  };
}

function statedRegisters(value: Record<string, unknown>): Pick<FoundEventLog, "registers"> {
  const values = REGISTERS.map((name) =>
    typeof value[name] === "string" && value[name] !== "" ? parseHexOfLength(value[name], 48, name) : undefined,
  );
  const [rtmr0, rtmr1, rtmr2, rtmr3] = values;
  if (rtmr0 === undefined || rtmr1 === undefined || rtmr2 === undefined || rtmr3 === undefined) return {};
  return { registers: { from: "tcb_info", values: [rtmr0, rtmr1, rtmr2, rtmr3] } };
}

/** Agents send the log as JSON text, tcb_info holds it as an array. */
function logText(value: unknown): string | undefined {
  if (typeof value === "string") return value === "" ? "[]" : value;
  return Array.isArray(value) ? JSON.stringify(value) : undefined;
}
