/** What a verifier demands of a platform beyond a genuine quote. Pure: claims in, checks out. */
import { equalBytes, toHex } from "@dstack/bytes";
import { fail, notApplicable, pass } from "./checks.ts";
import type { Check, Outcome } from "./checks.ts";
import { isoTime } from "./judgement.ts";
import type { QuoteClaims } from "./quote-claims.ts";
import { DOCUMENT_NAMES, type DocumentKind, type SignedDocument } from "./signed-document.ts";
import { describeShortfall } from "./tcb-shortfall.ts";
import { isOutOfDate } from "./tcb-status.ts";
import type { TcbStatus } from "./tcb-status.ts";

/** A demand that is absent is not made. */
export interface QuotePolicy {
  readonly acceptedStatuses?: readonly TcbStatus[];
  /** An outdated platform that is not accepted by its status passes for so many days after the date of its TCB level. */
  readonly graceDays?: number;
  /** Every advisory that applies to the platform must be among these. */
  readonly acceptedAdvisories?: readonly string[];
  /** 16 bytes each. */
  readonly acceptedPpids?: readonly Uint8Array[];
  /** Refused whatever else the platform is: machines whose keys are known to be out, or that were retired. */
  readonly deniedPpids?: readonly Uint8Array[];
  /** 6 bytes each. */
  readonly acceptedFmspcs?: readonly Uint8Array[];
  /** Of TCB info and QE identity both. */
  readonly minEvaluationNumber?: number;
  /** Since each kind of document was issued. */
  readonly maxCollateralAge?: Readonly<Partial<Record<DocumentKind, AgeLimit>>>;
}

/** A limit warns before it refuses. */
export interface AgeLimit {
  readonly warnDays: number;
  /** Above `warnDays`; without it nothing is refused. */
  readonly maxDays?: number;
}

/** What a policy looks at. */
export type JudgedClaims = Pick<
  QuoteClaims,
  "status" | "earliestTcbDate" | "shortfall" | "advisoryIds" | "ppid" | "fmspc" | "documents"
>;

const DAY_SECONDS = 86_400;

/**
 * Checks policy-tcb-status, policy-advisories, policy-platform, policy-collateral. `now` in Unix seconds.
 */
export function evaluatePolicy(claims: JudgedClaims, policy: QuotePolicy, now: number): Check[] {
  return [
    { name: "policy-tcb-status", ...judgeStatus(claims, policy, now) },
    { name: "policy-advisories", ...judgeAdvisories(claims, policy) },
    { name: "policy-platform", ...judgePlatform(claims, policy) },
    { name: "policy-collateral", ...judgeCollateral(claims, policy, now) },
  ];
}

/** Unix seconds from which on the policy refuses what it takes now; Infinity where no limit of time counts. */
export function policyEnd(
  { status, earliestTcbDate, documents }: JudgedClaims,
  { acceptedStatuses, graceDays, maxCollateralAge = {} }: QuotePolicy,
): number {
  const byGrace =
    graceDays !== undefined && acceptedStatuses !== undefined && !acceptedStatuses.includes(status)
      ? Date.parse(earliestTcbDate) / 1000 + graceDays * DAY_SECONDS
      : Number.POSITIVE_INFINITY;
  const byAge = documents.map(({ kind, from }) => {
    const days = maxCollateralAge[kind]?.maxDays;
    return days === undefined ? Number.POSITIVE_INFINITY : from + days * DAY_SECONDS;
  });
  return Math.min(byGrace, ...byAge);
}

function judgeStatus(
  { status, earliestTcbDate, shortfall }: JudgedClaims,
  { acceptedStatuses, graceDays }: QuotePolicy,
  now: number,
): Outcome {
  if (acceptedStatuses === undefined) return notApplicable("the policy accepts every status");
  if (acceptedStatuses.includes(status)) return pass(`${status} is accepted`);
  const needed = shortfall === undefined ? "" : `: ${describeShortfall(shortfall)}`;
  const expected = `expected ${acceptedStatuses.join(" or ") || "none"}`;
  if (graceDays === undefined || !isOutOfDate(status))
    return fail(`TCB status ${status}, ${expected}${needed}`, "policy-status");
  const ageDays = (now - Date.parse(earliestTcbDate) / 1000) / DAY_SECONDS;
  return ageDays <= graceDays
    ? pass(`${status} since ${earliestTcbDate}, within ${graceDays} days of grace`)
    : fail(
        `TCB status ${status}, ${expected}; its TCB date ${earliestTcbDate} is over ${graceDays} days ago${needed}`,
        "policy-status",
      );
}

function judgeAdvisories({ advisoryIds }: JudgedClaims, { acceptedAdvisories }: QuotePolicy): Outcome {
  if (acceptedAdvisories === undefined) return notApplicable("the policy accepts every advisory");
  const unexpected = advisoryIds.filter((id) => !acceptedAdvisories.includes(id));
  return unexpected.length === 0
    ? pass(advisoryIds.length === 0 ? "no advisory applies" : `accepted: ${advisoryIds.join(", ")}`)
    : fail(
        `advisories ${unexpected.join(", ")} apply, expected at most ${acceptedAdvisories.join(", ") || "none"}`,
        "policy-advisory",
      );
}

function judgePlatform(
  { ppid, fmspc }: JudgedClaims,
  { acceptedPpids, deniedPpids, acceptedFmspcs }: QuotePolicy,
): Outcome {
  if (acceptedPpids === undefined && deniedPpids === undefined && acceptedFmspcs === undefined)
    return notApplicable("the policy accepts every platform");
  if (deniedPpids?.some((one) => equalBytes(one, ppid)) === true)
    return fail(`PPID ${toHex(ppid)} is one that the policy denies`, "policy-platform");
  const lists: readonly (readonly [string, Uint8Array, readonly Uint8Array[] | undefined])[] = [
    ["PPID", ppid, acceptedPpids],
    ["FMSPC", fmspc, acceptedFmspcs],
  ];
  for (const [name, got, accepted] of lists) {
    if (accepted !== undefined && !accepted.some((one) => equalBytes(one, got))) {
      return fail(
        `${name} ${toHex(got)}, expected one of the ${accepted.length} that the policy accepts`,
        "policy-platform",
      );
    }
  }
  return pass(`PPID ${toHex(ppid)}, FMSPC ${toHex(fmspc)}`);
}

function judgeCollateral(
  { documents }: JudgedClaims,
  { minEvaluationNumber, maxCollateralAge = {} }: QuotePolicy,
  now: number,
): Outcome {
  if (minEvaluationNumber === undefined && Object.keys(maxCollateralAge).length === 0)
    return notApplicable("the policy takes documents of any age and evaluation");
  const refused = documents
    .map(
      (document) =>
        belowEvaluation(document, minEvaluationNumber) ?? tooOld(document, maxCollateralAge[document.kind], now),
    )
    .find((reason) => reason !== undefined);
  if (refused !== undefined) return fail(refused, "policy-collateral");
  const warnings = documents
    .map((document) => nearlyTooOld(document, maxCollateralAge[document.kind], now))
    .filter((text) => text !== undefined);
  const outcome = pass("documents as new as the policy asks for");
  return warnings.length === 0 ? outcome : { ...outcome, warning: warnings.join("; ") };
}

function belowEvaluation({ kind, number }: SignedDocument, min: number | undefined): string | undefined {
  const isOfEvaluation = kind === "tcb_info" || kind === "qe_identity";
  return min === undefined || !isOfEvaluation || (number !== undefined && number >= BigInt(min))
    ? undefined
    : `${DOCUMENT_NAMES[kind]} is of evaluation ${number}, the policy asks for ${min} at least`;
}

const ageOf = ({ kind, from }: SignedDocument, now: number): string =>
  `${DOCUMENT_NAMES[kind]} of ${isoTime(from)} is ${((now - from) / DAY_SECONDS).toFixed(1)} days old`;

function tooOld(document: SignedDocument, limit: AgeLimit | undefined, now: number): string | undefined {
  if (limit?.maxDays === undefined || now - document.from <= limit.maxDays * DAY_SECONDS) return undefined;
  return `${ageOf(document, now)}, the policy takes ${limit.maxDays} days at most`;
}

function nearlyTooOld(document: SignedDocument, limit: AgeLimit | undefined, now: number): string | undefined {
  if (limit === undefined || now - document.from <= limit.warnDays * DAY_SECONDS) return undefined;
  const then = limit.maxDays === undefined ? "" : `, and refuses after ${limit.maxDays}`;
  return `${ageOf(document, now)}; the policy warns after ${limit.warnDays}${then}`;
}
