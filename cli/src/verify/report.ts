import { isoTime, type Check } from "@dstack/attest";
import { visible } from "../terminal/output.ts";
import type { Fact, Section } from "./fact.ts";
import type { VerifyResult } from "./result.ts";

const MARKS: Readonly<Record<Check["result"], string>> = {
  pass: "pass",
  fail: "FAIL",
  "not applicable": "n/a ",
  "not bound": "----",
};

/** The checks one by one for people: result, name, reason, then the verdict. */
export function reportText(result: VerifyResult): string {
  return [`Evidence of ${visible(result.what)}`, ...checkLines(result.checks), "", ...verdictLines(result)].join("\n");
}

/** The same after what the evidence means: what runs, who can change it, what protects it. */
export function fullReportText(result: VerifyResult): string {
  return [...result.sections.flatMap(sectionLines), reportText(result)].join("\n");
}

export function checkLines(
  checks: readonly Pick<Check, "name" | "result" | "reason" | "warning">[],
): readonly string[] {
  const width = Math.max(...checks.map(({ name }) => name.length), 4);
  return checks.map(
    ({ name, result: outcome, reason, warning }) =>
      `${warning === undefined ? " " : "!"} ${MARKS[outcome]}  ${name.padEnd(width)}  ${visible(reason)}${warning === undefined ? "" : `; ${visible(warning)}`}`,
  );
}

function verdictLines({ verdict, what, checks, environment, goodUntil }: VerifyResult): readonly string[] {
  const note = environment === "development" ? " (development root of trust: this proves nothing about hardware)" : "";
  if (verdict.kind === "verified") {
    const open = checks.filter(({ result }) => result === "not bound").map(({ name }) => name);
    return [
      `  verified: ${visible(what)}${note}`,
      ...(goodUntil === undefined ? [] : [`  good until ${isoTime(goodUntil)}: then a document or certificate ends`]),
      ...(open.length === 0 ? [] : [`  not bound by this evidence: ${[...new Set(open)].join(", ")}`]),
    ];
  }
  const word = verdict.kind === "failed" ? "NOT verified" : "NOT verified, something is missing";
  return [`  ${word}: ${visible(what)}${note}`, `  ${visible(verdict.reason)}`];
}

function sectionLines({ title, facts }: Section): readonly string[] {
  const width = Math.max(...facts.map(({ name }) => name.length));
  return [title, ...facts.flatMap((fact) => factLines(fact, width)), ""];
}

/** Text of several lines, such as a compose file, stands below its name. */
function factLines({ name, value, warning }: Fact, width: number): readonly string[] {
  const mark = warning === true ? "!" : " ";
  const [first = "", ...more] = value.trimEnd().split("\n").map(visible);
  if (more.length === 0) return [`${mark} ${name.padEnd(width)}  ${first}`];
  return [`${mark} ${name}`, ...[first, ...more].map((line) => `    | ${line}`)];
}
