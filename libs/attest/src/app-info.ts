/** Values that the platform derives from a quote and its events. */
import { concatBytes, hash32, isAllZero, parseBareHex, parseJson } from "@dstack/bytes";
import type { AppId, Hash32, Hash48, InstanceId } from "@dstack/bytes";
import { sha256 } from "#sha2";
import type { Attestation } from "./attestation.ts";
import { readBootClaims } from "./boot-events.ts";
import { AttestError } from "./errors.ts";
import { parseQuote, tdReportOf } from "./quote.ts";
import type { TdReport } from "./quote.ts";
import { eventsUntilBootDone, replayRtmr3 } from "./runtime-event.ts";

/** Identity and measurements of an app instance, as key servers, gateways and auditors compare them. */
export interface AppInfo {
  readonly appId: AppId;
  readonly composeHash: Hash32;
  readonly instanceId: InstanceId;
  /** SHA-256 of the platform's PPID; of nothing where the quote was not verified. */
  readonly deviceId: Hash32;
  /** The older form: SHA-256 of the user data in the quote's header. Allow-lists may hold either. */
  readonly deviceIdLegacy: Hash32;
  readonly mrSystem: Hash32;
  readonly mrAggregated: Hash32;
  /** What the VM claims to run; true only after the image's measurements were compared. No bytes where unknown. */
  readonly osImageHash: Hash32 | Uint8Array;
  /** JSON text {"name","id"} as bytes; none in boot-time mode. */
  readonly keyProviderInfo: Uint8Array;
  readonly initScriptHashes: readonly Hash32[];
}

export interface AppInfoInput {
  readonly attestation: Attestation;
  /** From `verifyQuote`; its PPID makes the device id. */
  readonly verified?: { readonly ppid: Uint8Array } | undefined;
  /** vm_config JSON text of the request; the attestation's own config where absent or empty. */
  readonly vmConfig?: string | undefined;
  /** Look only at events up to `boot-mr-done`. */
  readonly boottime?: boolean | undefined;
}

/**
 * App info of an attestation. Verify the attestation first: this only computes.
 * @throws AttestError
 */
export const appInfo = (input: AppInfoInput): AppInfo => appInfoOfReplay(input, undefined);

/** As `appInfo`; `rtmr3` is what all events of the attestation replay to, where that is known: a replay is what costs here. */
export function appInfoOfReplay(
  { attestation, verified, vmConfig, boottime = false }: AppInfoInput,
  rtmr3: Hash48 | undefined,
): AppInfo {
  const quote = parseQuote(attestation.platform.quote);
  const report = tdReportOf(quote);
  const events = boottime ? eventsUntilBootDone(attestation.runtimeEvents) : attestation.runtimeEvents;
  const claims = readBootClaims(events);
  return {
    appId: claims.appId,
    composeHash: claims.composeHash,
    instanceId: claims.instanceId,
    deviceId: hash32(sha256(verified?.ppid ?? new Uint8Array(0))),
    deviceIdLegacy: hash32(sha256(quote.header.userData)),
    mrSystem: mrSystem(report, claims.keyProviderInfo),
    mrAggregated: mrAggregated(report, boottime || rtmr3 === undefined ? replayRtmr3(events) : rtmr3),
    osImageHash: osImageHashOf(vmConfig === undefined || vmConfig === "" ? attestation.config : vmConfig),
    keyProviderInfo: claims.keyProviderInfo,
    initScriptHashes: claims.initScriptHashes,
  };
}

/** SHA-256(MRTD, RTMR0, RTMR1, RTMR2, K), K = SHA-256(key provider info) or 32 zeros where there is none. */
export function mrSystem(report: TdReport, keyProviderInfo: Uint8Array): Hash32 {
  const keyProvider = keyProviderInfo.length === 0 ? new Uint8Array(32) : sha256(keyProviderInfo);
  const [rtmr0, rtmr1, rtmr2] = report.rtmr;
  return hash32(sha256(concatBytes(report.mrTd, rtmr0, rtmr1, rtmr2, keyProvider)));
}

/** SHA-256(MRTD, RTMR0..2, the replayed RTMR3), and the three launch registers where one of them is set. */
export function mrAggregated(report: TdReport, rtmr3: Hash48): Hash32 {
  const [rtmr0, rtmr1, rtmr2] = report.rtmr;
  const launch = concatBytes(report.mrConfigId, report.mrOwner, report.mrOwnerConfig);
  return hash32(
    sha256(concatBytes(report.mrTd, rtmr0, rtmr1, rtmr2, rtmr3, isAllZero(launch) ? new Uint8Array(0) : launch)),
  );
}

/** `os_image_hash` of a vm_config; no bytes where it is not there. @throws AttestError `vm-config-malformed` */
export function osImageHashOf(vmConfig: string): Hash32 | Uint8Array {
  if (vmConfig === "") return new Uint8Array(0);
  let value: unknown;
  try {
    value = parseJson(vmConfig);
  } catch (cause) {
    throw new AttestError("vm-config-malformed", "vm_config: not valid JSON", { cause });
  }
  if (typeof value !== "object" || value === null)
    throw new AttestError("vm-config-malformed", "vm_config: not an object");
  const text: unknown = (value as Record<string, unknown>)["os_image_hash"];
  if (text === undefined || text === "") return new Uint8Array(0);
  if (typeof text !== "string")
    throw new AttestError("vm-config-malformed", "vm_config: os_image_hash is not a string");
  try {
    return hash32(parseBareHex(text, "os_image_hash"));
  } catch (cause) {
    throw new AttestError("vm-config-malformed", "vm_config: os_image_hash is not 64 hex digits", { cause });
  }
}
