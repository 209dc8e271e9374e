import { QuoteVerifier } from "@phala/dcap-qvl";
import { collateralFromJson, trustAnchorFromPem } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import type { Forged } from "../forge/forged-evidence.ts";

/** What a library makes of evidence. */
export type Verdict =
  | { readonly ok: true; readonly status: string; readonly advisories: string }
  | { readonly ok: false; /** Names of failed checks, or the error's text. */ readonly reasons: readonly string[] };

export function ours(evidence: Forged): Verdict {
  let collateral;
  try {
    collateral = collateralFromJson(evidence.collateral);
  } catch (error) {
    return { ok: false, reasons: ["collateral-format", String(error)] };
  }
  const result = verifyQuote(evidence.quote, collateral, {
    now: evidence.now,
    trustAnchor: trustAnchorFromPem(evidence.rootPem),
  });
  return result.ok
    ? { ok: true, status: result.status, advisories: result.advisoryIds.join(" ") }
    : { ok: false, reasons: result.checks.filter(({ result: each }) => each === "fail").map(({ name }) => name) };
}

/** The reference's library, compiled to JavaScript by its authors. */
export function theirs(evidence: Forged): Verdict {
  try {
    // Its types ask for lists of numbers; at run time it takes hex like the exchange form.
    const collateral = evidence.collateral as unknown as Parameters<QuoteVerifier["verify"]>[1];
    const report = QuoteVerifier.newWithRootCa(Buffer.from(evidence.rootDer)).verify(
      Buffer.from(evidence.quote),
      collateral,
      evidence.now,
    );
    return { ok: true, status: report.status, advisories: [...new Set(report.advisory_ids)].toSorted().join(" ") };
  } catch (error) {
    return { ok: false, reasons: [error instanceof Error ? error.message : String(error)] };
  }
}

export const agree = (a: Verdict, b: Verdict): boolean =>
  a.ok && b.ok ? a.status === b.status && a.advisories === b.advisories : a.ok === b.ok;
