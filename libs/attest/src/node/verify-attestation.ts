import { BytesError, equalBytes, isAllZero, parseHex, toHex } from "@dstack/bytes";
import type { ReportData } from "@dstack/bytes";
import { DerError } from "@dstack/der";
import { appInfo } from "../app-info.ts";
import type { AppInfo } from "../app-info.ts";
import type { Attestation } from "../attestation.ts";
import { fail, firstFailure, guarded, notApplicable, notBound, pass } from "../checks.ts";
import type { Check, Outcome } from "../checks.ts";
import { AttestError } from "../errors.ts";
import { decodeRuntimeEvents, replayFirmwareRegister } from "../event-log.ts";
import { parseKeyProviderInfo } from "../key-provider-info.ts";
import { KEY_PROVIDER_KINDS, mrConfigIdV1, mrConfigIdV2, mrConfigIdV3, parseMrConfigV3 } from "../mr-config-id.ts";
import { parseQuote, tdReportOf } from "../quote.ts";
import type { TdReport } from "../quote.ts";
import type { QuoteClaims } from "../quote-plan.ts";
import { eventDigest, replayRtmr3 } from "../runtime-event.ts";
import type { TrustAnchor } from "../trust-anchor.ts";
import type { CollateralSource } from "./collateral-source.ts";
import { verifyQuote } from "./verify-quote.ts";

export interface VerifyAttestationOptions {
  readonly collateralSource: CollateralSource;
  /** Unix seconds. */
  readonly now: number;
  readonly trustAnchor: TrustAnchor;
  /** What the report data must be; without it the check reads "not bound". */
  readonly expectedReportData?: ReportData;
  /** vm_config JSON text that came beside the attestation; its own config where absent or empty. */
  readonly vmConfig?: string;
  /** The MRCONFIGID V3 document, where one came beside the attestation. */
  readonly mrConfig?: string;
  /** Also compute `appInfo` of boot time (events up to `boot-mr-done`) instead of run time. */
  readonly boottime?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Names of checks beyond those of `verifyQuote`: collateral, tee, rtmr3-replay, report-data, event-log,
 * firmware-log, app-identity, mr-config-id.
 */
export type AttestationVerification =
  | { readonly ok: true; readonly checks: readonly Check[]; readonly quote: QuoteClaims; readonly report: TdReport; readonly appInfo: AppInfo }
  | { readonly ok: false; readonly checks: readonly Check[]; readonly reason: string };

/**
 * Verifies an attestation object: quote, policy, event replay, report data, and the app's identity in it.
 * The OS image is not compared here: that takes its measurements (see `@dstack/measure`).
 * A refusal is a value; only broken invariants throw.
 */
export async function verifyAttestation(attestation: Attestation, options: VerifyAttestationOptions): Promise<AttestationVerification> {
  const quoteBytes = attestation.platform.quote;
  const parsed = guarded(() => parseQuote(quoteBytes));
  if (!parsed.ok) return refusal([{ name: "quote-format", ...parsed.outcome }]);
  const collateral = await fetched(() => options.collateralSource.collateralFor(parsed.value, options.signal));
  if (!collateral.ok) return refusal([{ name: "collateral", ...collateral.outcome }]);
  const verified = verifyQuote(quoteBytes, collateral.value, options);
  const checks: Check[] = [...verified.checks];
  const report = guarded(() => tdReportOf(parsed.value));
  // An SGX quote may carry any report data and has no RTMRs to replay events against.
  checks.push({ name: "tee", ...(report.ok ? pass("Intel TDX") : report.outcome) });
  if (!report.ok) return refusal(checks);
  checks.push(
    { name: "rtmr3-replay", ...checkReplay(attestation, report.value) },
    { name: "report-data", ...checkReportData(attestation, report.value, options.expectedReportData) },
    { name: "event-log", ...guardedOutcome(() => checkEventLog(attestation)) },
    { name: "firmware-log", ...checkFirmwareLog(attestation, report.value) },
  );
  const info = guarded(() => appInfo({
    attestation,
    ...(verified.ok ? { verified } : {}),
    ...(options.vmConfig === undefined ? {} : { vmConfig: options.vmConfig }),
    ...(options.boottime === undefined ? {} : { boottime: options.boottime }),
  }));
  checks.push({ name: "app-identity", ...(info.ok ? pass(`app ${toHex(info.value.appId)}, compose hash ${toHex(info.value.composeHash)}`) : info.outcome) });
  if (info.ok) checks.push({ name: "mr-config-id", ...guardedOutcome(() => checkMrConfigId(report.value, info.value, options.mrConfig)) });
  if (!verified.ok || !info.ok || firstFailure(checks) !== undefined) return refusal(checks);
  const { ok: _ok, checks: _checks, ...quote } = verified;
  return { ok: true, checks, quote, report: report.value, appInfo: info.value };
}

function checkReplay({ runtimeEvents }: Attestation, report: TdReport): Outcome {
  const replayed = replayRtmr3(runtimeEvents);
  return equalBytes(replayed, report.rtmr[3])
    ? pass(`${runtimeEvents.length} events replay to RTMR3`)
    : fail(`RTMR3 mismatch, quoted: ${toHex(report.rtmr[3])}, replayed: ${toHex(replayed)}`);
}

function checkReportData({ reportData }: Attestation, report: TdReport, expected: ReportData | undefined): Outcome {
  if (!equalBytes(reportData, report.reportData)) return fail(`tdx report_data mismatch: quoted ${toHex(report.reportData)}, claimed ${toHex(reportData)}`);
  if (expected === undefined) return notBound("no expected value was given: the evidence may be of another time or key");
  return equalBytes(expected, reportData) ? pass("as expected") : fail(`report data mismatch: expected ${toHex(expected)}, got ${toHex(reportData)}`);
}

/**
 * The log beside the quote, where it has RTMR3 entries, tells the same events as those replayed: nobody
 * downstream may read other events out of it (DS #1294).
 */
function checkEventLog({ platform, runtimeEvents }: Attestation): Outcome {
  const logged = decodeRuntimeEvents(platform.eventLog);
  if (logged.length === 0) return notApplicable("the log carries no runtime events of its own");
  const same = logged.length === runtimeEvents.length
    && logged.every((event, index) => {
      const replayed = runtimeEvents[index];
      return replayed !== undefined && event.event === replayed.event && equalBytes(eventDigest(event), eventDigest(replayed));
    });
  return same ? pass(`${logged.length} events`) : fail("the event log and the replayed runtime events differ");
}

function checkFirmwareLog({ platform }: Attestation, report: TdReport): Outcome {
  const indices = [0, 1, 2] as const;
  const replayed = indices.filter((imr) => replayFirmwareRegister(platform.eventLog, imr) !== undefined);
  const wrong = replayed.filter((imr) => !equalBytes(replayFirmwareRegister(platform.eventLog, imr) ?? new Uint8Array(0), report.rtmr[imr]));
  if (replayed.length === 0) return notApplicable("the log carries no firmware digests");
  if (wrong.length > 0) return notBound(`digests of RTMR${wrong.join(", RTMR")} do not replay (stripped log); the quoted registers stand, their events are unproven`);
  return pass(`digests replay to RTMR${replayed.join(", RTMR")}`);
}

function checkMrConfigId(report: TdReport, info: AppInfo, document: string | undefined): Outcome {
  const value = report.mrConfigId;
  // Old hosts set nothing. RTMR3 carries the compose hash all the same (#559).
  if (isAllZero(value)) return notBound("MRCONFIGID is unset; the compose hash is bound by RTMR3 alone");
  switch (value[0]) {
    case 1:
      return equalBytes(value, mrConfigIdV1(info.composeHash)) ? pass("version 1: compose hash") : fail("MRCONFIGID version 1 does not hold the compose hash");
    case 2: {
      const named = info.keyProviderInfo.length === 0 ? "" : parseKeyProviderInfo(info.keyProviderInfo).id;
      const ids = [new Uint8Array(0), parseHex(named, "key provider id")];
      const kind = KEY_PROVIDER_KINDS.find((candidate) => ids.some((id) => equalBytes(value, mrConfigIdV2(info.composeHash, info.appId, candidate, id))));
      return kind === undefined ? notBound("MRCONFIGID version 2 over a key provider id that is not known here") : pass(`version 2: compose hash, app id, key provider ${kind}`);
    }
    case 3: {
      if (document === undefined) return notBound("MRCONFIGID version 3 over a document that is not at hand");
      if (!equalBytes(value, mrConfigIdV3(document))) return fail("MRCONFIGID version 3 does not hold the document's hash");
      return equalBytes(parseMrConfigV3(document).composeHash, info.composeHash) ? pass("version 3: launch document") : fail("the launch document names another compose hash");
    }
    default:
      return fail(`Invalid mr_config_id version ${value[0]}`);
  }
}

function refusal(checks: readonly Check[]): AttestationVerification {
  return { ok: false, checks, reason: firstFailure(checks) ?? "attestation is not verified" };
}

function guardedOutcome(check: () => Outcome): Outcome {
  const outcome = guarded(check);
  return outcome.ok ? outcome.value : outcome.outcome;
}

async function fetched<T>(read: () => Promise<T>): Promise<{ readonly ok: true; readonly value: T } | { readonly ok: false; readonly outcome: Outcome }> {
  try {
    return { ok: true, value: await read() };
  } catch (error) {
    if (error instanceof AttestError || error instanceof DerError || error instanceof BytesError) return { ok: false, outcome: fail(error.message) };
    throw error;
  }
}
