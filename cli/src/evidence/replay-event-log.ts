import {
  bootPrefix,
  decodeRuntimeEvents,
  entryToJson,
  eventDigest,
  fail,
  guarded,
  notApplicable,
  notBound,
  parseKeyProviderInfo,
  pass,
  readBootClaims,
  readGpuLaunch,
  replayFirmwareRegister,
  replayRtmr3,
  type Check,
  type Outcome,
  type RuntimeEvent,
} from "@dstack/attest";
import { equalBytes, toHex, utf8 } from "@dstack/bytes";
import { composeHash } from "@dstack/compose";
import type { Fields } from "./describe.ts";
import type { FoundEventLog } from "./read-event-log.ts";

export interface Replay {
  /** No check failed. */
  readonly ok: boolean;
  readonly kind: FoundEventLog["kind"];
  /** Hex; null where the log lacks a digest of that register. */
  readonly rtmr0: string | null;
  readonly rtmr1: string | null;
  readonly rtmr2: string | null;
  readonly rtmr3: string;
  readonly events: readonly Fields[];
  /** What the boot events say; null where they say nothing that can be read. */
  readonly claims: Fields | null;
  readonly checks: readonly Check[];
}

/** Replays a log register by register, reads its claims, and holds both against what came with it. */
export function replayEventLog(log: FoundEventLog): Replay {
  const firmware = ([0, 1, 2] as const).map((imr) => firmwareRegister(log, imr));
  const rtmr3 = replayRtmr3(log.runtimeEvents);
  const claims = guarded(() => claimsOf(log.runtimeEvents));
  const checks: Check[] = [
    { name: "rtmr3-replay", ...compareRtmr3(log, rtmr3) },
    { name: "event-log", ...compareLogs(log) },
    { name: "firmware-log", ...compareFirmware(log, firmware) },
    {
      name: "boot-events",
      ...(log.runtimeEvents.length === 0
        ? notApplicable("the log has no runtime events")
        : claims.ok
          ? pass("each at most once before system-ready")
          : claims.outcome),
    },
    { name: "report-data", ...compareReportData(log) },
    { name: "app-compose", ...compareManifest(log, claims.ok ? claims.value : undefined) },
  ];
  const [rtmr0 = null, rtmr1 = null, rtmr2 = null] = firmware.map((register) =>
    register === undefined ? null : toHex(register),
  );
  return {
    ok: checks.every(({ result }) => result !== "fail"),
    kind: log.kind,
    rtmr0,
    rtmr1,
    rtmr2,
    rtmr3: toHex(rtmr3),
    events: eventFields(log),
    claims: claims.ok ? claims.value : null,
    checks,
  };
}

/** A register that nothing extended is zero; one with an event whose digest was left out is unknown. */
function firmwareRegister(log: FoundEventLog, imr: 0 | 1 | 2): Uint8Array | undefined {
  return log.entries.some((entry) => entry.imr === imr) ? replayFirmwareRegister(log.entries, imr) : new Uint8Array(48);
}

function claimsOf(events: readonly RuntimeEvent[]): Fields {
  const claims = readBootClaims(events);
  const gpu = readGpuLaunch(events);
  const provider = claims.keyProviderInfo.length === 0 ? undefined : parseKeyProviderInfo(claims.keyProviderInfo);
  return {
    app_id: toHex(claims.appId),
    compose_hash: toHex(claims.composeHash),
    instance_id: toHex(claims.instanceId),
    key_provider: provider === undefined ? null : { name: provider.name, id: provider.id },
    os_image_hash: claims.osImageHash === undefined ? null : toHex(claims.osImageHash),
    init_script_hashes: claims.initScriptHashes.map((hash) => toHex(hash)),
    gpu_policy_hash: claims.gpuPolicyHash === undefined ? null : toHex(claims.gpuPolicyHash),
    gpu:
      gpu === undefined
        ? null
        : {
            devices: gpu.devices,
            devtools: gpu.devtools,
            evidence_sha256: toHex(gpu.evidenceSha256),
            verified: "not supported",
          },
    storage_fs: claims.storageFs ?? null,
    unknown_events: claims.unknownEvents,
  };
}

function compareRtmr3({ registers, runtimeEvents }: FoundEventLog, replayed: Uint8Array): Outcome {
  if (registers === undefined) return notBound("no quote came with the log");
  if (!equalBytes(replayed, registers.values[3])) {
    return fail(
      `${runtimeEvents.length} events replay to ${toHex(replayed)}, the ${registers.from} says ${toHex(registers.values[3])}`,
      "rtmr3-mismatch",
    );
  }
  return pass(
    `${runtimeEvents.length} events replay to RTMR3 of the ${registers.from}${registers.from === "quote" ? ", which is not verified here" : ", which nothing signs"}`,
  );
}

/** An attestation tells its runtime events twice; nobody may read others out of it than those replayed (DS #1294). */
function compareLogs({ kind, entries, runtimeEvents }: FoundEventLog): Outcome {
  if (kind !== "attestation") return notApplicable("one list of events");
  const logged = decodeRuntimeEvents(entries);
  if (logged.length === 0) return notApplicable("the log carries no runtime events of its own");
  const digests = (events: readonly RuntimeEvent[]): string => events.map((event) => toHex(eventDigest(event))).join();
  return digests(logged) === digests(runtimeEvents)
    ? pass(`${logged.length} events`)
    : fail("the event log and the replayed runtime events differ", "event-log-mismatch");
}

/** Logs are often stripped of firmware events, so a difference proves nothing. */
function compareFirmware({ registers }: FoundEventLog, firmware: readonly (Uint8Array | undefined)[]): Outcome {
  if (registers === undefined) return notBound("no quote came with the log");
  const wrong = firmware.flatMap((register, imr) =>
    register === undefined || !equalBytes(register, registers.values[imr] ?? new Uint8Array()) ? [`RTMR${imr}`] : [],
  );
  return wrong.length === 0
    ? pass(`digests replay to RTMR0 to RTMR2 of the ${registers.from}`)
    : notBound(`the log does not replay to ${wrong.join(", ")} of the ${registers.from}: stripped, or of another VM`);
}

function compareReportData({ reportData }: FoundEventLog): Outcome {
  if (reportData === undefined) return notApplicable("none was stated beside the quote");
  const { stated, quoted } = reportData;
  return equalBytes(stated, quoted)
    ? pass("as stated beside the quote")
    : fail(`stated ${toHex(stated)}, quoted ${toHex(quoted)}`, "report-data-mismatch");
}

function compareManifest({ appCompose }: FoundEventLog, claims: Fields | undefined): Outcome {
  if (appCompose === undefined || claims === undefined) return notApplicable("no manifest and event to compare");
  const hash = toHex(composeHash(utf8(appCompose)));
  return hash === claims["compose_hash"]
    ? pass(`its SHA-256 is the compose hash ${hash}`)
    : fail(`SHA-256 of app_compose is ${hash}, measured was ${String(claims["compose_hash"])}`, "event-log-mismatch");
}

/** Entries of the log in their order, then those runtime events that it left out; phase tells who could have written them. */
function eventFields(log: FoundEventLog): Fields[] {
  const logged = log.entries.filter(({ imr }) => imr === 3).length;
  const boot = bootPrefix(log.runtimeEvents).length;
  const phase = (index: number): string => (index <= boot ? "boot" : "application");
  let runtime = 0;
  const entries = log.entries.map((entry): Fields => {
    if (entry.imr !== 3) return { phase: "firmware", ...(entryToJson(entry) as Fields) };
    const index = runtime++;
    const event = log.runtimeEvents[index];
    return {
      phase: phase(index),
      ...(entryToJson(entry) as Fields),
      digest: toHex(event === undefined ? entry.digest : eventDigest(event)),
    };
  });
  if (logged > 0) return entries;
  return [
    ...entries,
    ...log.runtimeEvents.map((event, index): Fields => ({
      phase: phase(index),
      imr: 3,
      digest: toHex(eventDigest(event)),
      event: event.event,
      event_payload: toHex(event.payload),
    })),
  ];
}
