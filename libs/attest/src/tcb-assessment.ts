/** Which published levels a platform reaches, and what they come to together. */
import type { CollateralDocuments } from "./collateral-documents.ts";
import type { PckExtension } from "./pck-extension.ts";
import type { Quote, TdReport } from "./quote.ts";
import { findShortfall, firstTdxComponent } from "./tcb-shortfall.ts";
import type { TcbShortfall } from "./tcb-shortfall.ts";
import { checkSeamModule, findModule } from "./tcb-checks.ts";
import type { ModuleCheck } from "./tcb-checks.ts";
import type { LevelStatus, TcbInfo, TcbLevel } from "./tcb-info.ts";
import { isOutOfDate, mergeTcbStatus } from "./tcb-status.ts";
import type { TcbRules, TcbStatus } from "./tcb-status.ts";

export interface TcbAssessment {
  /** Undefined where the platform is below every level. */
  readonly level: TcbLevel | undefined;
  readonly qeLevel: LevelStatus | undefined;
  /** Undefined for an SGX quote. */
  readonly module: ModuleCheck | undefined;
  readonly merged: { readonly platform: TcbStatus; readonly status: TcbStatus } | undefined;
  readonly relaunchAdvised: boolean;
  /** What is short for a better status; undefined where nothing is. */
  readonly shortfall: TcbShortfall | undefined;
}

export function assessTcb(
  quote: Quote,
  pck: PckExtension,
  { tcbInfo, qeIdentity }: CollateralDocuments,
  rules: TcbRules,
): TcbAssessment {
  const td = quote.body.kind === "tdx" ? quote.body : undefined;
  const level = findTcbLevel(tcbInfo, pck, td?.teeTcbSvn, rules);
  const qeLevel = qeIdentity.levels.find(({ isvSvn }) => isvSvn <= quote.qeReport.isvSvn);
  const module = td === undefined ? undefined : checkSeamModule(tcbInfo, td);
  const moduleFails = module?.outcome.result === "fail";
  const platform =
    level === undefined || moduleFails
      ? undefined
      : mergeTcbStatus(level.status, module?.level?.status ?? "UpToDate", rules);
  const merged =
    platform === undefined || qeLevel === undefined
      ? undefined
      : { platform, status: mergeTcbStatus(platform, qeLevel.status, rules) };
  const relaunchAdvised =
    td !== undefined &&
    platform !== undefined &&
    isOutOfDate(platform) &&
    qeLevel?.status === "UpToDate" &&
    module?.level?.status === "OutOfDate" &&
    relaunchHelps(tcbInfo, pck, td);
  const shortfall =
    merged?.status === "UpToDate"
      ? undefined
      : findShortfall(quote, pck, { tcbInfo, qeIdentity }, { level, qeLevel, moduleLevel: module?.level }, rules);
  return { level, qeLevel, module, merged, relaunchAdvised, shortfall };
}

/**
 * The highest level that the platform reaches. By Intel's rules components 0 and 1 are the TDX module's
 * from its version 1 on and judged by its identity; the reference compares them here all the same.
 */
function findTcbLevel(
  tcbInfo: TcbInfo,
  pck: PckExtension,
  teeTcbSvn: Uint8Array | undefined,
  rules: TcbRules,
): TcbLevel | undefined {
  const firstTdx = firstTdxComponent(teeTcbSvn, rules);
  return tcbInfo.levels.find(
    (level) =>
      reachesSgx(level, pck) &&
      (teeTcbSvn === undefined ||
        (level.tdx?.every((svn, index) => index < firstTdx || (teeTcbSvn[index] ?? 0) >= svn) ?? false)),
  );
}

const reachesSgx = (level: TcbLevel, pck: PckExtension): boolean =>
  level.sgx.every((svn, index) => (pck.tcbComponents[index] ?? 0) >= svn) && pck.pceSvn >= level.pceSvn;

/**
 * Whether only the TD's launch is old: the platform's own part is current, and the second SVN of TD
 * report 1.5 (what runs now) is at the newest module and loader.
 */
function relaunchHelps(tcbInfo: TcbInfo, pck: PckExtension, { teeTcbSvn2 }: TdReport): boolean {
  const newest = tcbInfo.levels[0];
  const sgxPart = tcbInfo.levels.find((level) => reachesSgx(level, pck));
  if (teeTcbSvn2 === undefined || newest?.tdx === undefined || sgxPart === undefined || isOutOfDate(sgxPart.status))
    return false;
  const [module = 0, version = 0, loader = 0] = teeTcbSvn2;
  const newestModule = version === 0 ? newest.tdx[0] : findModule(tcbInfo, version)?.levels[0]?.isvSvn;
  return newestModule !== undefined && module >= newestModule && loader >= (newest.tdx[2] ?? 0);
}
