/** What a verifier demands of a platform beyond a genuine quote. Pure: claims in, checks out. */
import { BytesError, equalBytes, parseHexOfLength, toHex } from "@dstack/bytes";
import { fail, notApplicable, pass } from "./checks.ts";
import type { Check, Outcome } from "./checks.ts";
import { AttestError } from "./errors.ts";
import type { QuoteClaims } from "./quote-claims.ts";
import { describeShortfall } from "./tcb-shortfall.ts";
import { isOutOfDate, isTcbStatus } from "./tcb-status.ts";
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
  /** 6 bytes each. */
  readonly acceptedFmspcs?: readonly Uint8Array[];
}

const DAY_SECONDS = 86_400;
const MAX_LIST = 10_000;

/** Checks policy-tcb-status, policy-advisories, policy-platform. `now` in Unix seconds. */
export function evaluatePolicy(claims: QuoteClaims, policy: QuotePolicy, now: number): Check[] {
  return [
    { name: "policy-tcb-status", ...judgeStatus(claims, policy, now) },
    { name: "policy-advisories", ...judgeAdvisories(claims, policy) },
    { name: "policy-platform", ...judgePlatform(claims, policy) },
  ];
}

/**
 * From parsed JSON: {"accepted_statuses", "grace_days", "accepted_advisories", "accepted_ppids",
 * "accepted_fmspcs"}, each optional; PPIDs and FMSPCs in hex.
 * @throws AttestError `policy-malformed`, also for a member that is none of these
 */
export function parsePolicy(value: unknown): QuotePolicy {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("expected an object");
  const fields = value as Record<string, unknown>;
  const unknown = Object.keys(fields).find((name) => !MEMBERS.includes(name));
  if (unknown !== undefined)
    throw malformed(`unknown member "${unknown.slice(0, 40)}", expected ${MEMBERS.join(", ")}`);
  const statuses = texts(fields, "accepted_statuses");
  const wrong = statuses?.find((status) => !isTcbStatus(status) || status === "Revoked");
  if (wrong !== undefined)
    throw malformed(`accepted_statuses: "${wrong.slice(0, 40)}" is no TCB status that can be accepted`);
  const graceDays = fields["grace_days"];
  if (graceDays !== undefined && (typeof graceDays !== "number" || !Number.isSafeInteger(graceDays) || graceDays < 0)) {
    throw malformed("grace_days: expected a whole number of days");
  }
  const advisories = texts(fields, "accepted_advisories");
  const ppids = hexes(fields, "accepted_ppids", 16);
  const fmspcs = hexes(fields, "accepted_fmspcs", 6);
  return {
    ...(statuses === undefined ? {} : { acceptedStatuses: statuses.filter(isTcbStatus) }),
    ...(graceDays === undefined ? {} : { graceDays }),
    ...(advisories === undefined ? {} : { acceptedAdvisories: advisories }),
    ...(ppids === undefined ? {} : { acceptedPpids: ppids }),
    ...(fmspcs === undefined ? {} : { acceptedFmspcs: fmspcs }),
  };
}

function judgeStatus(
  { status, earliestTcbDate, shortfall }: QuoteClaims,
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

function judgeAdvisories({ advisoryIds }: QuoteClaims, { acceptedAdvisories }: QuotePolicy): Outcome {
  if (acceptedAdvisories === undefined) return notApplicable("the policy accepts every advisory");
  const unexpected = advisoryIds.filter((id) => !acceptedAdvisories.includes(id));
  return unexpected.length === 0
    ? pass(advisoryIds.length === 0 ? "no advisory applies" : `accepted: ${advisoryIds.join(", ")}`)
    : fail(
        `advisories ${unexpected.join(", ")} apply, expected at most ${acceptedAdvisories.join(", ") || "none"}`,
        "policy-advisory",
      );
}

function judgePlatform({ ppid, fmspc }: QuoteClaims, { acceptedPpids, acceptedFmspcs }: QuotePolicy): Outcome {
  if (acceptedPpids === undefined && acceptedFmspcs === undefined)
    return notApplicable("the policy accepts every platform");
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

const MEMBERS: readonly string[] = [
  "accepted_statuses",
  "grace_days",
  "accepted_advisories",
  "accepted_ppids",
  "accepted_fmspcs",
];

function texts(fields: Record<string, unknown>, name: string): string[] | undefined {
  const value = fields[name];
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length > MAX_LIST || !value.every((item) => typeof item === "string")) {
    throw malformed(`${name}: expected a list of at most ${MAX_LIST} texts`);
  }
  return value;
}

function hexes(fields: Record<string, unknown>, name: string, length: number): Uint8Array[] | undefined {
  try {
    return texts(fields, name)?.map((text) => parseHexOfLength(text, length, name));
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause;
    throw new AttestError("policy-malformed", `policy: ${cause.message}`, { cause });
  }
}

const malformed = (text: string): AttestError => new AttestError("policy-malformed", `policy: ${text}`);
