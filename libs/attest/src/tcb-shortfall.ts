/**
 * What a platform lacks for a better TCB status: which part, by how much, and which update raises it. SGX and TDX
 * components are counted from 0, as bytes of CPUSVN and TEE_TCB_SVN; Intel's documents say what each stands for.
 */
import { assertNever } from "@dstack/errors";
import type { CollateralDocuments } from "./collateral-documents.ts";
import { isoTime } from "./judgement.ts";
import type { PckExtension } from "./pck-extension.ts";
import type { Quote } from "./quote.ts";
import { findModule } from "./tcb-checks.ts";
import type { ComponentKind, LevelStatus, TcbInfo, TcbLevel } from "./tcb-info.ts";
import { mergeTcbStatus, severityOf } from "./tcb-status.ts";
import type { TcbRules, TcbStatus } from "./tcb-status.ts";

/** What an operator installs to raise a security version. */
export type TcbUpdate =
  | "bios"
  | "microcode"
  | "bios-or-microcode"
  | "tdx-module"
  | "seam-loader"
  | "sinit-module"
  | "pce"
  | "quoting-enclave";

/** A security version that is lower than what is asked for. */
export interface ShortPart {
  readonly part: "sgx-component" | "pce" | "tdx-component" | "tdx-module" | "quoting-enclave";
  /** Of a component: 0 to 15. */
  readonly index?: number;
  readonly has: number;
  readonly needs: number;
  readonly update: TcbUpdate;
}

/** A status that Intel gives a platform that has these parts as well. */
export interface TcbTarget {
  readonly status: TcbStatus;
  /** ISO 8601 text: the date of the level. */
  readonly tcbDate: string;
  readonly short: readonly ShortPart[];
}

export interface TcbShortfall {
  readonly evaluationDataNumber: number;
  /** Unix seconds: when the TCB info was issued. */
  readonly issueDate: number;
  /** The better status that the least is missing for. */
  readonly nearest: TcbTarget;
  readonly best: TcbTarget;
}

/** What the platform reaches by now; undefined where it is below every level. */
export interface Reached {
  readonly level: TcbLevel | undefined;
  readonly moduleLevel: LevelStatus | undefined;
  readonly qeLevel: LevelStatus | undefined;
}

/** Undefined where no published level of any part is better than the one that is reached. */
export function findShortfall(
  quote: Quote,
  pck: PckExtension,
  documents: Pick<CollateralDocuments, "tcbInfo" | "qeIdentity">,
  reached: Reached,
  rules: TcbRules,
): TcbShortfall | undefined {
  const { tcbInfo, qeIdentity } = documents;
  const teeTcbSvn = quote.body.kind === "tdx" ? quote.body.teeTcbSvn : undefined;
  const [moduleSvn = 0, moduleVersion = 0] = teeTcbSvn ?? [];
  const ofModule = moduleVersion === 0 ? undefined : findModule(tcbInfo, moduleVersion);
  const parts: readonly PartTargets[] = [
    platformTargets(tcbInfo, pck, teeTcbSvn, reached.level, rules),
    isvTargets(ofModule?.levels ?? [], moduleSvn, reached.moduleLevel, {
      part: "tdx-module",
      update: "tdx-module",
    }),
    isvTargets(qeIdentity.levels, quote.qeReport.isvSvn, reached.qeLevel, {
      part: "quoting-enclave",
      update: "quoting-enclave",
    }),
  ];
  const [platform] = parts;
  if (platform?.best === undefined || parts.every(({ best }) => best === undefined || best.short.length === 0))
    return undefined;
  return {
    evaluationDataNumber: tcbInfo.evaluationDataNumber,
    issueDate: tcbInfo.issueDate,
    nearest: together(
      parts.map(({ nearest }) => nearest),
      rules,
    ),
    best: together(
      parts.map(({ best }) => best),
      rules,
    ),
  };
}

/** As one line, with what each update would raise. */
export function describeShortfall({ nearest, best, evaluationDataNumber, issueDate }: TcbShortfall): string {
  const targets = describeTarget(nearest) === describeTarget(best) ? [best] : [nearest, best];
  return `${targets.map(describeTarget).join("; ")}; by TCB evaluation ${evaluationDataNumber}, issued ${isoTime(issueDate)}`;
}

/** "UpToDate (2025-03-12) needs TDX component 2 at 6 (has 5) by a microcode update". */
export function describeTarget({ status, tcbDate, short }: TcbTarget): string {
  const byUpdate = [...Map.groupBy(short, ({ update }) => update)].map(
    ([update, parts]) =>
      `${parts.map((part) => `${partName(part)} at ${part.needs} (has ${part.has})`).join(" and ")} by ${UPDATES[update]}`,
  );
  return `${status} (${tcbDate.slice(0, 10)}) needs ${byUpdate.join(", ")}`;
}

/** What raises a part, for people. */
export const UPDATES: Readonly<Record<TcbUpdate, string>> = {
  bios: "a BIOS update",
  microcode: "a microcode update",
  "bios-or-microcode": "a BIOS update or setting, or a microcode update",
  "tdx-module": "a TDX module update",
  "seam-loader": "a SEAM loader update",
  "sinit-module": "a TXT SINIT module update",
  pce: "an update of Intel's PCE",
  "quoting-enclave": "an update of Intel's quoting enclave",
};

export function partName({ part, index = 0 }: Pick<ShortPart, "part" | "index">): string {
  switch (part) {
    case "sgx-component":
      return `SGX component ${index}`;
    case "tdx-component":
      return `TDX component ${index}`;
    case "pce":
      return "PCESVN";
    case "tdx-module":
      return "TDX module SVN";
    case "quoting-enclave":
      return "QE SVN";
    default:
      return assertNever(part);
  }
}

/** Undefined where a part has no levels of its own. */
interface PartTargets {
  readonly nearest: TcbTarget | undefined;
  readonly best: TcbTarget | undefined;
}

function platformTargets(
  tcbInfo: TcbInfo,
  pck: PckExtension,
  teeTcbSvn: Uint8Array | undefined,
  reached: TcbLevel | undefined,
  rules: TcbRules,
): PartTargets {
  const first = firstTdxComponent(teeTcbSvn, rules);
  const candidates = tcbInfo.levels
    .filter(({ status }) => isBetter(status, reached))
    .map((level) => ({ ...level, short: shortOf(level, tcbInfo, pck, teeTcbSvn?.subarray(0, 16), first) }))
    .filter(({ short }) => short.length > 0);
  return withCurrent(candidates, reached);
}

/** From which TDX component on a platform's are compared with those of a level. */
export const firstTdxComponent = (teeTcbSvn: Uint8Array | undefined, rules: TcbRules): number =>
  rules === "reference" || teeTcbSvn?.[1] === 0 ? 0 : 2;

function shortOf(
  level: TcbLevel,
  { components }: TcbInfo,
  pck: PckExtension,
  teeTcbSvn: Uint8Array | undefined,
  firstTdx: number,
): ShortPart[] {
  const short: ShortPart[] = [];
  for (const [index, needs] of level.sgx.entries()) {
    const has = pck.tcbComponents[index] ?? 0;
    if (has < needs)
      short.push({ part: "sgx-component", index, has, needs, update: updateOf(components.sgx[index]) ?? ANY_FIRMWARE });
  }
  if (pck.pceSvn < level.pceSvn) short.push({ part: "pce", has: pck.pceSvn, needs: level.pceSvn, update: "pce" });
  if (teeTcbSvn === undefined) return short;
  for (const [index, needs] of (level.tdx ?? []).entries()) {
    const has = teeTcbSvn[index] ?? 0;
    if (index >= firstTdx && has < needs) {
      const update = updateOf(components.tdx[index]) ?? (index < 2 ? "tdx-module" : ANY_FIRMWARE);
      short.push({ part: "tdx-component", index, has, needs, update });
    }
  }
  return short;
}

const ANY_FIRMWARE: TcbUpdate = "bios-or-microcode";

/** By the words that Intel's documents use of components; undefined for others. */
function updateOf({ category = "", type = "" }: ComponentKind = {}): TcbUpdate | undefined {
  if (/tdx module/i.test(type)) return "tdx-module";
  if (/seamldr/i.test(type)) return "seam-loader";
  if (/sinit/i.test(type)) return "sinit-module";
  if (category === "BIOS") return "bios";
  return /microcode/i.test(type) ? "microcode" : undefined;
}

function isvTargets(
  levels: readonly (LevelStatus & { readonly isvSvn: number })[],
  has: number,
  reached: LevelStatus | undefined,
  part: Pick<ShortPart, "part" | "update">,
): PartTargets {
  const candidates = levels
    .filter(({ status, isvSvn }) => isvSvn > has && isBetter(status, reached))
    .map(({ isvSvn, ...level }) => ({ ...level, short: [{ ...part, has, needs: isvSvn }] }));
  return withCurrent(candidates, reached);
}

const isBetter = (status: TcbStatus, reached: LevelStatus | undefined): boolean =>
  reached === undefined ? status !== "Revoked" : severityOf(status) < severityOf(reached.status);

/** Of the better levels, highest first, the nearest and the best; where there is none, what is reached stands. */
function withCurrent(
  candidates: readonly (LevelStatus & Pick<TcbTarget, "short">)[],
  reached: LevelStatus | undefined,
): PartTargets {
  const current = reached === undefined ? undefined : targetOf({ ...reached, short: [] });
  const byDistance = candidates.toSorted((a, b) => a.short.length - b.short.length || missing(a) - missing(b));
  const byStatus = candidates.toSorted((a, b) => severityOf(a.status) - severityOf(b.status));
  const [nearest] = byDistance;
  const [best] = byStatus;
  return {
    nearest: nearest === undefined ? current : targetOf(nearest),
    best: best === undefined ? current : targetOf(best),
  };
}

const missing = ({ short }: Pick<TcbTarget, "short">): number =>
  short.reduce((sum, { has, needs }) => sum + needs - has, 0);

const targetOf = ({ status, tcbDate, short }: LevelStatus & Pick<TcbTarget, "short">): TcbTarget => ({
  status,
  tcbDate,
  short,
});

/** What the parts come to together once none of them is short. */
function together(parts: readonly (TcbTarget | undefined)[], rules: TcbRules): TcbTarget {
  const targets = parts.filter((target) => target !== undefined);
  const [platform] = targets;
  const dated = targets.find(({ short }) => short.length > 0) ?? platform;
  return {
    status: targets.map(({ status }) => status).reduce((whole, part) => mergeTcbStatus(whole, part, rules)),
    tcbDate: dated?.tcbDate ?? "",
    short: targets.flatMap(({ short }) => short),
  };
}
