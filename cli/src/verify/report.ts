import type { Check } from "@dstack/attest";
import { visible } from "../output.ts";
import type { VerifyResult } from "./verify-app.ts";

const MARKS: Readonly<Record<Check["result"], string>> = { pass: "pass", fail: "FAIL", "not applicable": "n/a ", "not bound": "----" };

/** The checks one by one for people: result, name, reason, then the verdict. */
export function reportText(result: VerifyResult): string {
  const width = Math.max(...result.checks.map(({ name }) => name.length), 4);
  const lines = result.checks.map(({ name, result: outcome, reason }) => `  ${MARKS[outcome]}  ${name.padEnd(width)}  ${visible(reason)}`);
  const verdict = result.ok ? `verified: ${result.what}` : `NOT verified: ${result.what}`;
  return [`Evidence of ${result.what}`, ...lines, "", `  ${verdict}${result.environment === "development" ? " (development root of trust: this proves nothing about hardware)" : ""}`].join("\n");
}
