/**
 * What is wrong with a compose file, and what deserves a look. In comes a file that was read; out
 * go findings, the grave ones first. Nothing is opened or asked.
 */
import { checkConsistency } from "./consistency.ts";
import type { Finding, FindingCode } from "./finding.ts";
import type { Place } from "./node.ts";
import { projectName, type ComposeFile } from "./read-compose-file.ts";
import { composeFile } from "./schema/compose-file.ts";
import { composeAdvice } from "./advice.ts";

/** More would help nobody. */
const MAX_FINDINGS = 100;

/** Everything to say about the file: what docker compose refuses, what cannot work in a guest, advice. */
export function lintComposeFile(file: ComposeFile): readonly Finding[] {
  return [...dockerFindings(file), ...composeAdvice(file)];
}

/** What docker compose of the guest image would refuse; empty where it would run the file. */
export function dockerFindings(file: ComposeFile): readonly Finding[] {
  const findings: Finding[] = [];
  const report = ({ place }: { place: Place }, path: string, code: FindingCode, message: string): void => {
    if (findings.length < MAX_FINDINGS)
      findings.push({ severity: "refuse-everywhere", code, path, service: serviceOf(path), line: place.line, message });
  };
  for (const step of file.earlier) composeFile(step, "", report);
  // What was wrong before the last document is not said once more.
  if (findings.length === 0) composeFile(file.root, "", report);
  checkConsistency(file, report);
  if (projectName(file, "app") === "") report(file.root, "name", "wrong-value", "the name has no letter and no digit");
  for (const { variable, message, place } of file.missing)
    report(
      { place },
      "",
      "missing-variable",
      `${variable} has no value and must have one${message === "" ? "" : `: ${message}`}`,
    );
  return findings;
}

/**
 * Whether the file was read as docker compose reads it, beyond doubt: only then may what it does
 * not name be deleted.
 */
export function isUnderstood(file: ComposeFile): boolean {
  return file.doubts.length === 0 && projectName(file, "app") !== undefined && dockerFindings(file).length === 0;
}

/** `line 4: services.web.image: text`, for people. */
export function findingText({ path, line, message }: Finding): string {
  return `${line === undefined ? "" : `line ${line}: `}${path === "" ? "" : `${path}: `}${message}`;
}

const serviceOf = (path: string): string | undefined => /^services\.([^.[]+)/.exec(path)?.[1];
