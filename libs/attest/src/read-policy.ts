/** The policy file: one form for the KMS, the verifier and `dstack verify`. */
import { BytesError, parseHexOfLength, parseJson } from "@dstack/bytes";
import { AttestError, reading } from "./errors.ts";
import type { AgeLimit, QuotePolicy } from "./policy.ts";
import { DOCUMENT_KINDS, type DocumentKind } from "./signed-document.ts";
import { isTcbStatus } from "./tcb-status.ts";

/** Every member with its type and meaning; the table in docs/reference/policy.md is printed from here. */
export const POLICY_MEMBERS = {
  accepted_statuses: [
    "list of TCB statuses",
    "Statuses that pass, such as `UpToDate`, `SWHardeningNeeded`; `Revoked` never does",
  ],
  grace_days: [
    "whole number",
    "An outdated platform that is not accepted by its status passes for so many days after the earliest date of its matched levels; `accepted_statuses` must be there, for without it every status passes",
  ],
  accepted_advisories: ["list of texts", "Every advisory that applies must be among these"],
  accepted_ppids: ["list of 16 bytes in hex", "Only these machines"],
  denied_ppids: [
    "list of 16 bytes in hex",
    "Never these machines, whatever else holds: their keys are known to be out, or they were retired",
  ],
  accepted_fmspcs: ["list of 6 bytes in hex", "Only these families of platforms"],
  min_tcb_evaluation_number: [
    "whole number",
    "Both TCB info and QE identity must be of this evaluation or a later one",
  ],
  max_collateral_age: [
    'table of "tcb_info", "qe_identity", "pck_crl", "root_ca_crl"',
    'For each kind `{"warn_days": N, "max_days": M}`: from N days after its issue on it is warned of, from M on refused. `warn_days` comes first and must be there; without `max_days` nothing is refused',
  ],
} as const satisfies Readonly<Record<string, readonly [type: string, meaning: string]>>;

type Fields = Readonly<Record<string, unknown>>;
type Member = keyof typeof POLICY_MEMBERS;

const MAX_LIST = 10_000;
const MAX_DAYS = 36_500;

/** From the text of a policy file. @throws AttestError `policy-malformed`, also for a member that is not known or said twice */
export const parsePolicyText = (text: string): QuotePolicy =>
  parsePolicy(reading("policy-malformed", "policy", () => parseJson(text, "file")));

/**
 * From parsed JSON. Every member is optional, but what is there must demand something: whoever writes a policy counts on it.
 * @throws AttestError `policy-malformed`, also for a member that is not known
 */
export function parsePolicy(value: unknown): QuotePolicy {
  const fields = objectOf(value, undefined, Object.keys(POLICY_MEMBERS));
  if (Object.keys(fields).length === 0)
    throw malformed(
      `demands nothing: name a member, or leave out the file; expected ${Object.keys(POLICY_MEMBERS).join(", ")}`,
    );
  const statuses = texts(fields, "accepted_statuses");
  const wrong = statuses?.find((status) => !isTcbStatus(status) || status === "Revoked");
  if (wrong !== undefined)
    throw malformed(`accepted_statuses: "${wrong.slice(0, 40)}" is no TCB status that can be accepted`);
  const graceDays = wholeNumber(fields, "grace_days", "of days");
  if (graceDays !== undefined && statuses === undefined)
    throw malformed(
      'grace_days: demands nothing without accepted_statuses, for every status passes then; add "accepted_statuses": ["UpToDate"]',
    );
  const advisories = texts(fields, "accepted_advisories");
  const ppids = hexes(fields, "accepted_ppids", 16);
  const denied = hexes(fields, "denied_ppids", 16);
  if (denied?.length === 0) throw malformed("denied_ppids: an empty list denies nothing; leave it out");
  const fmspcs = hexes(fields, "accepted_fmspcs", 6);
  const minEvaluationNumber = wholeNumber(fields, "min_tcb_evaluation_number", "");
  const maxCollateralAge = ages(fields["max_collateral_age" satisfies Member]);
  return {
    ...(statuses === undefined ? {} : { acceptedStatuses: statuses.filter(isTcbStatus) }),
    ...(graceDays === undefined ? {} : { graceDays }),
    ...(advisories === undefined ? {} : { acceptedAdvisories: advisories }),
    ...(ppids === undefined ? {} : { acceptedPpids: ppids }),
    ...(denied === undefined ? {} : { deniedPpids: denied }),
    ...(fmspcs === undefined ? {} : { acceptedFmspcs: fmspcs }),
    ...(minEvaluationNumber === undefined ? {} : { minEvaluationNumber }),
    ...(maxCollateralAge === undefined ? {} : { maxCollateralAge }),
  };
}

function ages(value: unknown): QuotePolicy["maxCollateralAge"] {
  if (value === undefined) return undefined;
  const fields = objectOf(value, "max_collateral_age", DOCUMENT_KINDS);
  if (Object.keys(fields).length === 0)
    throw malformed(`max_collateral_age: an empty table limits nothing; expected ${DOCUMENT_KINDS.join(", ")}`);
  const limits: Partial<Record<DocumentKind, AgeLimit>> = {};
  for (const kind of DOCUMENT_KINDS) if (fields[kind] !== undefined) limits[kind] = ageLimit(fields[kind], kind);
  return limits;
}

function ageLimit(value: unknown, kind: DocumentKind): AgeLimit {
  const what = `max_collateral_age.${kind}`;
  const fields = objectOf(value, what, ["warn_days", "max_days"]);
  const { warn_days: warnDays, max_days: maxDays } = fields;
  if (!isDays(warnDays))
    throw malformed(`${what}.warn_days: expected a number of days: a limit warns before it refuses`);
  if (maxDays === undefined) return { warnDays };
  if (!isDays(maxDays) || maxDays <= warnDays)
    throw malformed(`${what}.max_days: expected a number of days above warn_days, ${warnDays}`);
  return { warnDays, maxDays };
}

const isDays = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(value) && value > 0 && value <= MAX_DAYS;

function objectOf(value: unknown, what: string | undefined, members: readonly string[]): Fields {
  const where = what === undefined ? "" : `${what}: `;
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw malformed(`${where}expected an object`);
  const unknown = Object.keys(value).find((name) => !members.includes(name));
  if (unknown !== undefined)
    throw malformed(`${where}unknown member "${unknown.slice(0, 40)}", expected ${members.join(", ")}`);
  return value as Fields;
}

function wholeNumber(fields: Fields, name: Member, of: string): number | undefined {
  const value = fields[name];
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw malformed(`${name}: expected a whole number ${of}`.trimEnd());
  return value;
}

function texts(fields: Fields, name: Member): string[] | undefined {
  const value = fields[name];
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length > MAX_LIST || !value.every((item) => typeof item === "string")) {
    throw malformed(`${name}: expected a list of at most ${MAX_LIST} texts`);
  }
  return value;
}

function hexes(fields: Fields, name: Member, length: number): Uint8Array[] | undefined {
  try {
    return texts(fields, name)?.map((text) => parseHexOfLength(text, length, name));
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause;
    throw new AttestError("policy-malformed", `policy: ${cause.message}`, { cause });
  }
}

const malformed = (text: string): AttestError => new AttestError("policy-malformed", `policy: ${text}`);
