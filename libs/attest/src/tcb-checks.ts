/** Measurements and versions of the platform's own software against what Intel publishes. */
import { equalBytes, isAllZero, toHex } from "@dstack/bytes";
import { fail, pass } from "./checks.ts";
import type { Outcome } from "./checks.ts";
import type { PckExtension } from "./pck-extension.ts";
import { attributesAsNumber } from "./quote.ts";
import type { Quote, TdReport } from "./quote.ts";
import type { LevelStatus, QeIdentity, TcbInfo, TcbLevel } from "./tcb-info.ts";

/**
 * The highest level that the platform reaches. From TDX module version 1 on, components 0 and 1 are
 * the module's and are judged by its identity, not here.
 */
export function findTcbLevel(tcbInfo: TcbInfo, pck: PckExtension, teeTcbSvn: Uint8Array | undefined): TcbLevel | undefined {
  const firstTdx = teeTcbSvn?.[1] === 0 ? 0 : 2;
  return tcbInfo.levels.find((level) =>
    level.sgx.every((svn, index) => (pck.cpuSvn[index] ?? 0) >= svn)
    && pck.pceSvn >= level.pceSvn
    && (teeTcbSvn === undefined
      || (level.tdx?.every((svn, index) => index < firstTdx || (teeTcbSvn[index] ?? 0) >= svn) ?? false)));
}

/** The TDX module: who signed it, its attributes, its level where it has an identity of its own. */
export function checkSeamModule(tcbInfo: TcbInfo, td: TdReport): { readonly outcome: Outcome; readonly level?: LevelStatus } {
  const version = td.teeTcbSvn[1] ?? 0;
  const svn = td.teeTcbSvn[0] ?? 0;
  const id = `TDX_${version.toString(16).padStart(2, "0")}`;
  const identity = version === 0
    ? tcbInfo.module
    : tcbInfo.moduleIdentities.find((candidate) => candidate.id.toLowerCase() === id.toLowerCase());
  if (identity === undefined) return { outcome: fail(`TDX module version ${version} has no identity in the TCB info`) };
  if (!isAllZero(td.mrSignerSeam)) return { outcome: fail(`MRSIGNERSEAM is ${toHex(td.mrSignerSeam)}, expected zeros (Intel)`) };
  if (!equalBytes(td.mrSignerSeam, identity.mrSigner)) return { outcome: fail("MRSIGNERSEAM is not the signer in the TCB info") };
  const mask = attributesAsNumber(identity.attributesMask);
  const attributes = attributesAsNumber(td.seamAttributes);
  const expected = attributesAsNumber(identity.attributes) & mask;
  if ((attributes & mask) !== expected || (attributes & ~mask) !== 0n) {
    return { outcome: fail(`SEAM attributes ${toHex(td.seamAttributes)} are not those of the TCB info`) };
  }
  if (version === 0) return { outcome: pass("TDX module version 0, signed by Intel") };
  const level = identity.levels.find(({ isvSvn }) => isvSvn <= svn);
  if (level === undefined) return { outcome: fail(`TDX module ${id}: no level for security version ${svn}`) };
  return { outcome: pass(`${id} at security version ${svn}: ${level.status}`), level };
}

/** The quoting enclave is Intel's, in production mode, as the QE identity describes it. */
export function checkQeMeasurement({ qeReport }: Quote, identity: QeIdentity): Outcome {
  if (!equalBytes(qeReport.mrSigner, identity.mrSigner)) return fail(`MRSIGNER ${toHex(qeReport.mrSigner)}, expected ${toHex(identity.mrSigner)}`);
  if (qeReport.isvProdId !== identity.isvProdId) return fail(`product id ${qeReport.isvProdId}, expected ${identity.isvProdId}`);
  if (((qeReport.attributes[0] ?? 0) & 2) !== 0) return fail("quoting enclave is in debug mode");
  if (!masked(qeReport.miscSelect, identity.miscSelectMask, identity.miscSelect)) return fail("MISCSELECT differs from the QE identity");
  if (!masked(qeReport.attributes, identity.attributesMask, identity.attributes)) return fail("ATTRIBUTES differ from the QE identity");
  const level = identity.levels.find(({ isvSvn }) => isvSvn <= qeReport.isvSvn);
  if (level === undefined) return fail(`no level for QE security version ${qeReport.isvSvn}`);
  return pass(`Intel's quoting enclave, security version ${qeReport.isvSvn}: ${level.status}`);
}

const SEPT_VE_DISABLE = 1n << 28n;
/** Features without influence on confidentiality: protection keys (30) and key locker (31). */
const ALLOWED_ATTRIBUTES = SEPT_VE_DISABLE | (1n << 30n) | (1n << 31n);

/** TDATTRIBUTES: debug and the other bits of its group clear, reserved bits clear, SEPT_VE_DISABLE set. */
export function checkTdAttributes(td: TdReport): Outcome {
  const attributes = attributesAsNumber(td.tdAttributes);
  if ((attributes & 0xffn) !== 0n) return fail(`Debug mode is not allowed: TD attributes ${toHex(td.tdAttributes)}`);
  if ((attributes & ~ALLOWED_ATTRIBUTES) !== 0n) return fail(`reserved TD attributes are set: ${toHex(td.tdAttributes)}`);
  if ((attributes & SEPT_VE_DISABLE) === 0n) return fail(`SEPT_VE_DISABLE is clear: TD attributes ${toHex(td.tdAttributes)}`);
  return pass("debug is off, SEPT_VE_DISABLE is on");
}

function masked(value: Uint8Array, mask: Uint8Array, expected: Uint8Array): boolean {
  return value.every((byte, index) => (byte & (mask[index] ?? 0)) === (expected[index] ?? 0));
}
