import type { Address, Hex } from "viem";
import type { BootInfo } from "../boot-info.ts";
import { GovernanceError } from "../errors.ts";

/** A boot request as the contracts take it (spec of `IAppAuth.AppBootInfo`). */
export interface ContractBootInfo {
  readonly appId: Address;
  readonly composeHash: Hex;
  readonly instanceId: Address;
  readonly deviceId: Hex;
  readonly mrAggregated: Hex;
  readonly mrSystem: Hex;
  readonly osImageHash: Hex;
  readonly tcbStatus: string;
  readonly advisoryIds: readonly string[];
}

const MAX_STATUS_CHARS = 128;
const MAX_ADVISORIES = 128;
const MAX_ADVISORY_CHARS = 256;

/**
 * Exact lengths only: a short hash is never padded into another one that is listed (DS #1268). What a VM may
 * lack altogether, instance id and mr_system, is zero when empty.
 * @throws GovernanceError `request-invalid` naming the member
 */
export function exactBootInfo(boot: BootInfo): ContractBootInfo {
  if (boot.tcbStatus.length > MAX_STATUS_CHARS)
    throw invalid("tcbStatus", `at most ${MAX_STATUS_CHARS} characters`, `${boot.tcbStatus.length}`);
  if (boot.advisoryIds.length > MAX_ADVISORIES)
    throw invalid("advisoryIds", `at most ${MAX_ADVISORIES} entries`, `${boot.advisoryIds.length}`);
  for (const id of boot.advisoryIds)
    if (id.length > MAX_ADVISORY_CHARS)
      throw invalid("advisoryIds", `at most ${MAX_ADVISORY_CHARS} characters each`, `${id.length}`);
  return {
    appId: exactHex(boot.appId, 20, "appId"),
    composeHash: exactHex(boot.composeHash, 32, "composeHash"),
    instanceId: boot.instanceId === "" ? zeros(20) : exactHex(boot.instanceId, 20, "instanceId"),
    deviceId: exactHex(boot.deviceId, 32, "deviceId"),
    mrAggregated: exactHex(boot.mrAggregated, 32, "mrAggregated"),
    mrSystem: boot.mrSystem === "" ? zeros(32) : exactHex(boot.mrSystem, 32, "mrSystem"),
    osImageHash: exactHex(boot.osImageHash, 32, "osImageHash"),
    tcbStatus: boot.tcbStatus,
    advisoryIds: boot.advisoryIds,
  };
}

/**
 * Hex of exactly `bytes` bytes, with or without `0x`, as lower case with `0x`.
 * @throws GovernanceError `request-invalid` naming `what`
 */
export function exactHex(text: string, bytes: number, what: string): Hex {
  const digits = /^0x/i.test(text) ? text.slice(2) : text;
  if (!/^[0-9a-f]*$/i.test(digits)) throw invalid(what, `${bytes} bytes of hex`, `"${text.slice(0, 80)}"`);
  if (digits.length !== 2 * bytes) throw invalid(what, `${bytes} bytes of hex`, `${digits.length / 2} bytes`);
  return `0x${digits.toLowerCase()}`;
}

const zeros = (bytes: number): Hex => `0x${"00".repeat(bytes)}`;

const invalid = (what: string, expected: string, got: string): GovernanceError =>
  new GovernanceError("request-invalid", `${what}: expected ${expected}, got ${got}`);
