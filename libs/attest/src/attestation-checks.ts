import { equalBytes, isAllZero, parseHex, toHex } from "@dstack/bytes";
import type { Hash48, ReportData } from "@dstack/bytes";
import { appInfoOfReplay } from "./app-info.ts";
import type { AppInfo } from "./app-info.ts";
import type { Attestation } from "./attestation.ts";
import { readBootClaims } from "./boot-events.ts";
import type { BootClaims } from "./boot-events.ts";
import { fail, firstFailure, guarded, notApplicable, notBound, pass } from "./checks.ts";
import type { Check, Outcome } from "./checks.ts";
import { readRuntimeEvents, replayFirmwareRegister, requireMeasured } from "./event-log.ts";
import { readGpuLaunch } from "./gpu-launch.ts";
import { parseKeyProviderInfo } from "./key-provider-info.ts";
import {
  KEY_PROVIDER_KINDS,
  mrConfigIdV1,
  mrConfigIdV2,
  mrConfigIdV3,
  mrConfigOf,
  parseMrConfigV3,
} from "./mr-config-id.ts";
import type { KeyProviderKind } from "./mr-config-id.ts";
import { parseQuote, tdReportOf } from "./quote.ts";
import type { TdReport } from "./quote.ts";
import type { QuoteClaims } from "./quote-claims.ts";
import type { QuoteVerification } from "./quote-plan.ts";
import { eventDigest, replayDigests, RUNTIME_RTMR } from "./runtime-event.ts";
import type { RuntimeEvent } from "./runtime-event.ts";

export interface AttestationCheckOptions {
  /** What the report data must be; without it the check reads "not bound". */
  readonly expectedReportData?: ReportData;
  /** vm_config JSON text that came beside the attestation; its own config where absent or empty. */
  readonly vmConfig?: string;
  /** The MRCONFIGID V3 document, where one came beside the attestation; else `mr_config` of the VM configuration. */
  readonly mrConfig?: string;
  /** Also compute `appInfo` of boot time (events up to `boot-mr-done`) instead of run time. */
  readonly boottime?: boolean;
  /** Refuse events before `system-ready` whose names are not known here; else they are only named. */
  readonly strictBootEvents?: boolean;
}

/**
 * Names of checks beyond those of the quote: collateral, tee, report-data, rtmr3-replay, event-log,
 * firmware-log, boot-events, app-identity, mr-config-id, gpu-launch.
 */
export type AttestationVerification =
  | {
      readonly ok: true;
      readonly checks: readonly Check[];
      readonly quote: QuoteClaims;
      readonly report: TdReport;
      readonly appInfo: AppInfo;
    }
  | { readonly ok: false; readonly checks: readonly Check[]; readonly reason: string };

const EVENT_CHECKS = [
  "rtmr3-replay",
  "event-log",
  "firmware-log",
  "boot-events",
  "app-identity",
  "mr-config-id",
  "gpu-launch",
] as const;

/**
 * What follows for an attestation object from the verdict on its quote: event replay, report data,
 * and the app's identity in it. Pure; `verifyAttestation` of the edge brings the verdict.
 * A refusal is a value; only broken invariants throw.
 */
export function checkAttestation(
  attestation: Attestation,
  verified: QuoteVerification,
  options: AttestationCheckOptions = {},
): AttestationVerification {
  const checks: Check[] = [...verified.checks];
  const report = guarded(() => tdReportOf(parseQuote(attestation.platform.quote)));
  // An SGX quote may carry any report data and has no RTMRs to replay events against.
  checks.push({ name: "tee", ...(report.ok ? pass("Intel TDX") : report.outcome) });
  if (!report.ok) return refusedAttestation(checks);
  const bound = checkReportData(attestation, report.value, options.expectedReportData);
  checks.push({ name: "report-data", ...bound });
  // Anybody can send a long log: it costs nothing unless it comes with a quote that holds, for what was asked (DS #1267).
  if (!verified.ok || bound.result === "fail") {
    return refusedAttestation([
      ...checks,
      ...EVENT_CHECKS.map((name): Check => ({
        name,
        ...notApplicable("not looked at: the quote does not hold for this"),
      })),
    ]);
  }
  const claims = guarded(() => readBootClaims(attestation.runtimeEvents));
  // Hashed once, for the replay and for what the log says of them.
  const digests = attestation.runtimeEvents.map(eventDigest);
  const rtmr3 = replayDigests(digests);
  checks.push(
    { name: "rtmr3-replay", ...checkReplay(attestation, report.value, rtmr3) },
    { name: "event-log", ...guardedOutcome(() => checkEventLog(attestation, digests)) },
    { name: "firmware-log", ...checkFirmwareLog(attestation, report.value) },
    {
      name: "boot-events",
      ...(claims.ok ? checkBootEvents(claims.value, options.strictBootEvents ?? false) : claims.outcome),
    },
  );
  const { vmConfig, boottime } = options;
  const info = guarded(() => appInfoOfReplay({ attestation, verified, vmConfig, boottime }, rtmr3));
  checks.push({
    name: "app-identity",
    ...(info.ok ? pass(`app ${toHex(info.value.appId)}, compose hash ${toHex(info.value.composeHash)}`) : info.outcome),
  });
  if (claims.ok) checks.push({ name: "mr-config-id", ...checkLaunchBinding(attestation, report.value, options) });
  checks.push({ name: "gpu-launch", ...guardedOutcome(() => checkGpuLaunch(attestation.runtimeEvents)) });
  if (!info.ok || firstFailure(checks) !== undefined) return refusedAttestation(checks);
  const { ok: _ok, checks: _checks, ...quote } = verified;
  return { ok: true, checks, quote, report: report.value, appInfo: info.value };
}

/**
 * The check mr-config-id by itself, for whoever is given a VM configuration after the evidence was judged.
 * Not bound where the configuration has no launch document, or the register binds nothing.
 */
export function checkLaunchBinding(
  attestation: Attestation,
  report: TdReport,
  { mrConfig, vmConfig }: Pick<AttestationCheckOptions, "mrConfig" | "vmConfig">,
): Outcome {
  const document = mrConfig ?? mrConfigOf(vmConfig === undefined || vmConfig === "" ? attestation.config : vmConfig);
  return guardedOutcome(() => checkMrConfigId(report, readBootClaims(attestation.runtimeEvents), document));
}

/** A refusal with the first failed check as its reason. */
export function refusedAttestation(checks: readonly Check[]): AttestationVerification {
  return { ok: false, checks, reason: firstFailure(checks) ?? "attestation is not verified" };
}

function checkReplay({ runtimeEvents }: Attestation, report: TdReport, replayed: Hash48): Outcome {
  return equalBytes(replayed, report.rtmr[3])
    ? pass(`${runtimeEvents.length} events replay to RTMR3`)
    : fail(`RTMR3 mismatch, quoted: ${toHex(report.rtmr[3])}, replayed: ${toHex(replayed)}`, "rtmr3-mismatch");
}

function checkReportData({ reportData }: Attestation, report: TdReport, expected: ReportData | undefined): Outcome {
  if (!equalBytes(reportData, report.reportData)) {
    return fail(
      `tdx report_data mismatch: quoted ${toHex(report.reportData)}, claimed ${toHex(reportData)}`,
      "report-data-mismatch",
    );
  }
  if (expected === undefined)
    return notBound("no expected value was given: the evidence may be of another time or key");
  return equalBytes(expected, reportData)
    ? pass("as expected")
    : fail(`report data mismatch: expected ${toHex(expected)}, got ${toHex(reportData)}`, "report-data-mismatch");
}

/**
 * The log beside the quote, where it has RTMR3 entries, tells the same events as those replayed: nobody
 * downstream may read other events out of it (DS #1294).
 */
function checkEventLog({ platform, runtimeEvents }: Attestation, digests: readonly Hash48[]): Outcome {
  const entries = platform.eventLog.filter(({ imr }) => imr === RUNTIME_RTMR);
  const logged = readRuntimeEvents(entries);
  if (logged.length === 0) return notApplicable("the log carries no runtime events of its own");
  if (logged.length !== runtimeEvents.length)
    return fail(
      `the event log has ${logged.length} runtime events, replayed were ${runtimeEvents.length}`,
      "event-log-mismatch",
    );
  const other = logged.findIndex((event, index) => !sameEvent(event, runtimeEvents[index]!));
  if (other >= 0)
    return fail(
      `runtime event ${other} is ${told(logged[other]!)} in the event log, replayed was ${told(runtimeEvents[other]!)}`,
      "event-log-mismatch",
    );
  for (const [index, entry] of entries.entries()) requireMeasured(entry, runtimeEvents[index]!, digests[index]!);
  return pass(`${logged.length} events`);
}

/** Enough to find it by: events may be long. */
const told = ({ event, payload }: RuntimeEvent): string =>
  `${JSON.stringify(event.slice(0, 40))} with ${payload.length} bytes ${toHex(payload.subarray(0, 20))}${payload.length > 20 ? "…" : ""}`;

const sameEvent = (a: RuntimeEvent, b: RuntimeEvent): boolean =>
  a.event === b.event && equalBytes(a.payload, b.payload) && (a.version ?? 1) === (b.version ?? 1);

function checkFirmwareLog({ platform }: Attestation, report: TdReport): Outcome {
  const replayed: number[] = [];
  const wrong: number[] = [];
  for (const imr of [0, 1, 2] as const) {
    const register = replayFirmwareRegister(platform.eventLog, imr);
    if (register === undefined) continue;
    (equalBytes(register, report.rtmr[imr]) ? replayed : wrong).push(imr);
  }
  if (wrong.length > 0)
    return notBound(
      `digests of RTMR${wrong.join(", RTMR")} do not replay (stripped log); the quoted registers stand, their events are unproven`,
    );
  return replayed.length === 0
    ? notApplicable("the log carries no firmware digests")
    : pass(`digests replay to RTMR${replayed.join(", RTMR")}`);
}

function checkBootEvents({ unknownEvents }: BootClaims, strict: boolean): Outcome {
  if (unknownEvents.length === 0) return pass("each at most once before system-ready, all of known names");
  const names = unknownEvents
    .map((name) => JSON.stringify(name.slice(0, 40)))
    .join(", ")
    .slice(0, 400);
  return strict
    ? fail(`unknown events before system-ready: ${names}`, "event-unknown")
    : pass(`each at most once before system-ready; not known here: ${names}`);
}

function checkMrConfigId(report: TdReport, claims: BootClaims, document: string | undefined): Outcome {
  const value = report.mrConfigId;
  // Old hosts set nothing. RTMR3 carries the compose hash all the same (#559).
  if (isAllZero(value)) return notBound("MRCONFIGID is unset; the compose hash is bound by RTMR3 alone");
  switch (value[0]) {
    case 1:
      return equalBytes(value, mrConfigIdV1(claims.composeHash))
        ? pass("version 1: compose hash")
        : mismatch(
            `MRCONFIGID ${toHex(value)} does not hold the compose hash, expected ${toHex(mrConfigIdV1(claims.composeHash))}`,
          );
    case 2: {
      const provider = claims.keyProviderInfo.length === 0 ? undefined : parseKeyProviderInfo(claims.keyProviderInfo);
      const measured = provider === undefined ? undefined : PROVIDER_KINDS.get(provider.name);
      // The host knows the id that the manifest pins, or none.
      const ids = [new Uint8Array(0), parseHex(provider?.id ?? "", "key provider id")];
      const kind = (measured === undefined ? KEY_PROVIDER_KINDS : [measured]).find((candidate) =>
        ids.some((id) => equalBytes(value, mrConfigIdV2(claims.composeHash, claims.appId, candidate, id))),
      );
      if (kind !== undefined) return pass(`version 2: compose hash, app id, key provider ${kind}`);
      return provider === undefined
        ? notBound("MRCONFIGID version 2 over a key provider id that is not known before the keys are there")
        : mismatch("MRCONFIGID version 2 does not hold compose hash, app id and key provider of the events");
    }
    case 3: {
      if (document === undefined) return notBound("MRCONFIGID version 3 over a document that is not at hand");
      const expected = mrConfigIdV3(document);
      if (!equalBytes(value, expected))
        return mismatch(`MRCONFIGID ${toHex(value)} does not hold the document's hash, expected ${toHex(expected)}`);
      const other = differingField(document, claims);
      return other === undefined
        ? pass("version 3: launch document")
        : mismatch(`the launch document names another ${other} than the events`);
    }
    default:
      return mismatch(`Invalid mr_config_id version ${value[0]}`);
  }
}

const PROVIDER_KINDS: ReadonlyMap<string, KeyProviderKind> = new Map([
  ["none", "none"],
  ["local-sgx", "local"],
  ["kms", "kms"],
  ["tpm", "tpm"],
]);

/** The first member of the launch document that says something else than the events; those that boot has not come to are passed over. */
function differingField(document: string, claims: BootClaims): string | undefined {
  const launch = parseMrConfigV3(document);
  const provider = claims.keyProviderInfo.length === 0 ? undefined : parseKeyProviderInfo(claims.keyProviderInfo);
  const differing = (name: string, wanted: Uint8Array | undefined, found: Uint8Array | undefined): string | undefined =>
    wanted === undefined || found === undefined || equalBytes(wanted, found)
      ? undefined
      : `${name} (${toHex(wanted)}, measured is ${toHex(found)})`;
  const fields =
    differing("compose hash", launch.composeHash, claims.composeHash) ??
    differing("app id", launch.appId, claims.appId) ??
    differing("instance id", launch.instanceId, claims.instanceId) ??
    differing("GPU policy hash", launch.gpuPolicyHash, claims.gpuPolicyHash);
  if (fields !== undefined) return fields;
  const scripts = launch.initScriptHashes;
  if (scripts !== undefined) {
    if (scripts.length !== claims.initScriptHashes.length)
      return `list of init scripts (${scripts.length} of them, measured are ${claims.initScriptHashes.length})`;
    for (const [index, script] of scripts.entries()) {
      const other = differing(`init script ${index + 1}`, script, claims.initScriptHashes[index]);
      if (other !== undefined) return other;
    }
  }
  if (provider === undefined) return undefined;
  if (PROVIDER_KINDS.get(provider.name) !== launch.keyProvider)
    return `key provider (${launch.keyProvider}, measured is ${JSON.stringify(provider.name.slice(0, 40))})`;
  return differing("key provider id", launch.keyProviderId, parseHex(provider.id, "key provider id"));
}

function checkGpuLaunch(events: readonly RuntimeEvent[]): Outcome {
  const launch = readGpuLaunch(events);
  if (launch === undefined) return notApplicable("no GPU was attested at launch");
  return notBound(
    `not supported: NVIDIA GPU evidence is not verified here; the guest says ${launch.devices} GPU${launch.devices === 1 ? "" : "s"}, output of SHA-256 ${toHex(launch.evidenceSha256)}`,
  );
}

const mismatch = (reason: string): Outcome => fail(reason, "mr-config-mismatch");

function guardedOutcome(check: () => Outcome): Outcome {
  const outcome = guarded(check);
  return outcome.ok ? outcome.value : outcome.outcome;
}
