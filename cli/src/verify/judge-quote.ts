import {
  AttestError,
  collateralFromJson,
  guarded,
  isoTime,
  parseQuote,
  quoteBytesOf,
  type Check,
  type QuoteCollateral,
  type QuotePolicy,
  type TcbRules,
  type TrustAnchor,
} from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import { parseJson, toHex, utf8Decode } from "@dstack/bytes";
import { judgeTcb } from "./platform-tcb.ts";
import { describeEvidence, type Fields } from "../evidence/describe.ts";

export interface QuoteInput {
  /** Binary or hex text. */
  readonly quote: Uint8Array;
  /** JSON text of the exchange form. */
  readonly collateral: Uint8Array;
  /** Unix seconds. */
  readonly now: number;
  readonly trustAnchor: TrustAnchor;
  readonly tcbRules: TcbRules;
  readonly policy: QuotePolicy | undefined;
}

/** As printed by `dstack verify quote -o json`; what only a verified quote proves is null without one. */
export interface QuoteResult {
  readonly ok: boolean;
  readonly status: string | null;
  readonly advisory_ids: readonly string[];
  readonly platform_status: string | null;
  readonly qe_status: string | null;
  readonly tcb_date: string | null;
  readonly fmspc: string | null;
  readonly ppid: string | null;
  readonly relaunch_advised: boolean;
  /** RFC 3339: ask again before it. */
  readonly good_until: string | null;
  readonly checks: readonly {
    readonly name: string;
    readonly result: Check["result"];
    readonly reason: string;
    readonly code?: string;
    readonly warning?: string;
  }[];
  /** What the quote says, verified or not: header, report and certification, bytes in hex. */
  readonly fields: Fields;
}

/** All steps of DCAP verification on a quote and its collateral at hand. A refusal is a value. */
export function verifyQuoteFile({ quote, collateral, ...options }: QuoteInput): QuoteResult {
  const bytes = reading("quote-format", () => quoteBytesOf(quote));
  if (!bytes.ok) return refused([bytes.check], {});
  const fields = fieldsOf(bytes.value);
  const documents = reading("collateral-format", (): QuoteCollateral => collateralFromJson(json(collateral)));
  if (!documents.ok) return refused([documents.check], fields);
  const { policy, ...rest } = options;
  const result = verifyQuote(bytes.value, documents.value, { ...rest, ...(policy === undefined ? {} : { policy }) });
  if (!result.ok) return refused(result.checks, fields);
  return {
    ok: true,
    status: result.status,
    advisory_ids: result.advisoryIds,
    platform_status: result.platformStatus,
    qe_status: result.qeStatus,
    tcb_date: result.tcbDate,
    fmspc: toHex(result.fmspc),
    ppid: toHex(result.ppid),
    relaunch_advised: result.relaunchAdvised,
    good_until: isoTime(result.goodUntil),
    checks: [...result.checks, { name: "tcb", ...judgeTcb(result, policy) }].map(listed),
    fields,
  };
}

const refused = (checks: readonly Check[], fields: Fields): QuoteResult => ({
  ok: false,
  status: null,
  advisory_ids: [],
  platform_status: null,
  qe_status: null,
  tcb_date: null,
  fmspc: null,
  ppid: null,
  relaunch_advised: false,
  good_until: null,
  checks: checks.map(listed),
  fields,
});

const listed = ({ name, result, reason, code, warning }: Check): QuoteResult["checks"][number] => ({
  name,
  result,
  reason,
  ...(code === undefined ? {} : { code }),
  ...(warning === undefined ? {} : { warning }),
});

/** Header and report side by side. None where the bytes are no quote: its check says why. */
function fieldsOf(bytes: Uint8Array): Fields {
  const described = reading("quote-format", () => describeEvidence({ kind: "quote", bytes, quote: parseQuote(bytes) }));
  if (!described.ok) return {};
  const { header, body, ...rest } = described.value;
  return { ...(header as Fields), ...(body as Fields), ...rest };
}

function json(text: Uint8Array): unknown {
  try {
    return parseJson(utf8Decode(text, "collateral"), "collateral");
  } catch (cause) {
    throw new AttestError("collateral-malformed", "collateral: not valid JSON, expected the exchange form", { cause });
  }
}

function reading<T>(
  name: string,
  read: () => T,
): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly check: Check } {
  const tried = guarded(read);
  return tried.ok ? tried : { ok: false, check: { name, ...tried.outcome } };
}
