import type { Check } from "@dstack/attest";

/**
 * - verified: nothing failed and everything required passed.
 * - failed: a check failed.
 * - incomplete: nothing failed, but something required could not be shown. Not to be taken for verified.
 */
export type Verdict =
  | { readonly kind: "verified" }
  | { readonly kind: "failed" | "incomplete"; readonly reason: string };

/**
 * Judges a list of checks.
 * @param required names that must be there and pass; a required check that is not applicable counts as passed
 */
export function judgeChecks(checks: readonly Check[], required: readonly string[]): Verdict {
  const failed = checks.filter(({ result }) => result === "fail");
  if (failed.length > 0)
    return { kind: "failed", reason: failed.map(({ name, reason }) => `${name}: ${reason}`).join("; ") };
  for (const name of required) {
    const own = checks.filter((check) => check.name === name);
    if (own.length === 0) return { kind: "incomplete", reason: `${name} was not checked` };
    const unbound = own.find(({ result }) => result === "not bound");
    if (unbound !== undefined) return { kind: "incomplete", reason: `${name}: ${unbound.reason}` };
  }
  return { kind: "verified" };
}
