/** Measurements and attributes of the platform's own software against what Intel publishes. */
import { equalBytes, isAllZero, toHex } from "@dstack/bytes";
import { fail, notApplicable, pass } from "./checks.ts";
import type { Outcome } from "./checks.ts";
import { attributesAsNumber } from "./quote.ts";
import type { EnclaveReport, TdReport } from "./quote.ts";
import type { LevelStatus, ModuleIdentity, QeIdentity, TcbInfo } from "./tcb-info.ts";

export interface ModuleCheck {
  readonly outcome: Outcome;
  /** From version 1 on, where the outcome is no failure. */
  readonly level?: LevelStatus;
}

const moduleId = (version: number): string => `TDX_${version.toString(16).padStart(2, "0")}`;

/** The identity of a TDX module version; version 0 has no levels of its own. */
export function findModule(tcbInfo: TcbInfo, version: number): ModuleIdentity | undefined {
  if (version === 0) return tcbInfo.module;
  const id = moduleId(version);
  return tcbInfo.moduleIdentities.find((candidate) => candidate.id.toLowerCase() === id.toLowerCase());
}

/** The TDX module: who signed it, its attributes, its level where it has an identity of its own. */
export function checkSeamModule(tcbInfo: TcbInfo, td: TdReport): ModuleCheck {
  const failed = (
    reason: string,
    code: "module-unknown" | "module-mismatch" | "module-level-missing",
  ): ModuleCheck => ({ outcome: fail(reason, code) });
  const [svn = 0, version = 0] = td.teeTcbSvn;
  const identity = findModule(tcbInfo, version);
  if (identity === undefined)
    return failed(
      `TDX module version ${version} has no identity in the TCB info, which lists ${tcbInfo.moduleIdentities.map(({ id }) => id).join(", ") || "none"}`,
      "module-unknown",
    );
  if (!isAllZero(td.mrSignerSeam))
    return failed(`MRSIGNERSEAM ${toHex(td.mrSignerSeam)}, expected zeros (Intel)`, "module-mismatch");
  if (!equalBytes(td.mrSignerSeam, identity.mrSigner)) {
    return failed(
      `MRSIGNERSEAM ${toHex(td.mrSignerSeam)}, expected ${toHex(identity.mrSigner)} by the TCB info`,
      "module-mismatch",
    );
  }
  const mask = attributesAsNumber(identity.attributesMask);
  const attributes = attributesAsNumber(td.seamAttributes);
  const expected = attributesAsNumber(identity.attributes) & mask;
  if ((attributes & mask) !== expected || (attributes & ~mask) !== 0n) {
    return failed(
      `SEAM attributes ${toHex(td.seamAttributes)}, expected ${toHex(identity.attributes)} under mask ${toHex(identity.attributesMask)}`,
      "module-mismatch",
    );
  }
  if (version === 0) return { outcome: pass("TDX module version 0, signed by Intel") };
  const level = identity.levels.find(({ isvSvn }) => isvSvn <= svn);
  if (level === undefined)
    return failed(
      `TDX module ${moduleId(version)}: no level for security version ${svn}, ${lowest(identity.levels)}`,
      "module-level-missing",
    );
  return { outcome: pass(`${moduleId(version)} at security version ${svn}: ${level.status}`), level };
}

/** The quoting enclave is Intel's, in production mode, as the QE identity describes it. */
export function checkQeMeasurement(
  report: EnclaveReport,
  identity: QeIdentity,
  level: LevelStatus | undefined,
): Outcome {
  const differs = (name: string, got: string, expected: string): Outcome =>
    fail(`${name} of the quoting enclave ${got}, expected ${expected}`, "qe-mismatch");
  if (!equalBytes(report.mrSigner, identity.mrSigner))
    return differs("MRSIGNER", toHex(report.mrSigner), toHex(identity.mrSigner));
  if (report.isvProdId !== identity.isvProdId)
    return differs("product id", String(report.isvProdId), String(identity.isvProdId));
  if (isDebug(report))
    return fail(`the quoting enclave is in debug mode: ATTRIBUTES ${toHex(report.attributes)}`, "qe-debug");
  if (!masked(report.miscSelect, identity.miscSelectMask, identity.miscSelect)) {
    return differs(
      "MISCSELECT",
      toHex(report.miscSelect),
      `${toHex(identity.miscSelect)} under mask ${toHex(identity.miscSelectMask)}`,
    );
  }
  if (!masked(report.attributes, identity.attributesMask, identity.attributes)) {
    return differs(
      "ATTRIBUTES",
      toHex(report.attributes),
      `${toHex(identity.attributes)} under mask ${toHex(identity.attributesMask)}`,
    );
  }
  if (level === undefined)
    return fail(`no level for QE security version ${report.isvSvn}, ${lowest(identity.levels)}`, "qe-level-missing");
  return pass(`Intel's quoting enclave, security version ${report.isvSvn}: ${level.status}`);
}

/** Debug off; for a TD also its reserved bits clear and SEPT_VE_DISABLE set. */
export function checkBodyAttributes(body: TdReport | EnclaveReport): Outcome {
  if (body.kind === "tdx") return checkTdAttributes(body);
  return isDebug(body)
    ? fail(`the enclave is in debug mode: ATTRIBUTES ${toHex(body.attributes)}`, "enclave-debug")
    : pass("debug is off");
}

/** No other TD may migrate this one. */
export function checkServiceTd(body: TdReport | EnclaveReport): Outcome {
  if (body.kind !== "tdx" || body.mrServiceTd === undefined) return notApplicable("no TD report 1.5");
  return isAllZero(body.mrServiceTd)
    ? pass("no service TD is bound")
    : fail(`MRSERVICETD is ${toHex(body.mrServiceTd)}, expected zeros: another TD may migrate this one`, "service-td");
}

/** The least that Intel has a level for. */
function lowest(levels: readonly { readonly isvSvn: number }[]): string {
  const last = levels.at(-1);
  return last === undefined ? "Intel lists none" : `the lowest that Intel lists is ${last.isvSvn}`;
}

const SEPT_VE_DISABLE = 1n << 28n;
/** Features without influence on confidentiality: protection keys (30) and key locker (31). */
const ALLOWED_ATTRIBUTES = SEPT_VE_DISABLE | (1n << 30n) | (1n << 31n);

function checkTdAttributes(td: TdReport): Outcome {
  const attributes = attributesAsNumber(td.tdAttributes);
  if ((attributes & 0xffn) !== 0n)
    return fail(`Debug mode is not allowed: TD attributes ${toHex(td.tdAttributes)}`, "td-debug");
  if ((attributes & ~ALLOWED_ATTRIBUTES) !== 0n)
    return fail(`reserved TD attributes are set: ${toHex(td.tdAttributes)}`, "td-attributes");
  if ((attributes & SEPT_VE_DISABLE) === 0n)
    return fail(`SEPT_VE_DISABLE is clear: TD attributes ${toHex(td.tdAttributes)}`, "td-attributes");
  return pass("debug is off, SEPT_VE_DISABLE is on");
}

const isDebug = ({ attributes }: EnclaveReport): boolean => ((attributes[0] ?? 0) & 2) !== 0;

function masked(value: Uint8Array, mask: Uint8Array, expected: Uint8Array): boolean {
  return value.every((byte, index) => (byte & (mask[index] ?? 0)) === (expected[index] ?? 0));
}
