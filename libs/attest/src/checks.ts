import { BytesError } from "@dstack/bytes";
import { DerError } from "@dstack/der";
import { AttestError } from "./errors.ts";
import type { RefusalCode } from "./errors.ts";

/**
 * - pass, fail: the check was made.
 * - not applicable: the thing it judges does not exist here (and why).
 * - not bound: the claim may be true, but this evidence does not prove it.
 */
export type CheckResult = "pass" | "fail" | "not applicable" | "not bound";

export interface Outcome {
  readonly result: CheckResult;
  readonly reason: string;
  /** Stable; only of a failure. */
  readonly code?: RefusalCode;
  /** What passes still and will not for ever; only of a pass. */
  readonly warning?: string;
}

export interface Check extends Outcome {
  /** Stable name; match on it. */
  readonly name: string;
}

export const pass = (reason: string): Outcome => ({ result: "pass", reason });
export const fail = (reason: string, code?: RefusalCode): Outcome =>
  code === undefined ? { result: "fail", reason } : { result: "fail", reason, code };
export const notApplicable = (reason: string): Outcome => ({ result: "not applicable", reason });
export const notBound = (reason: string): Outcome => ({ result: "not bound", reason });

/** Runs a reader of untrusted bytes; its refusals come back as a failed outcome, other errors go on. */
export function guarded<T>(
  read: () => T,
): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly outcome: Outcome } {
  try {
    return { ok: true, value: read() };
  } catch (error) {
    if (error instanceof AttestError || error instanceof DerError || error instanceof BytesError) {
      return { ok: false, outcome: fail(error.message, error.code) };
    }
    throw error;
  }
}

/** What passed with a warning, one text each. */
export const warningsOf = (checks: readonly Check[]): string[] =>
  checks.flatMap(({ warning }) => (warning === undefined ? [] : [warning]));

/** The first failed check as one line, or undefined where none failed. */
export function firstFailure(checks: readonly Check[]): string | undefined {
  const failed = checks.find((check) => check.result === "fail");
  return failed === undefined ? undefined : `${failed.name}: ${failed.reason}`;
}
