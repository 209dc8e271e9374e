import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Mutant } from "./instrument.ts";
import type { Judged } from "./verdicts.ts";

/** A survivor that no test can kill or need not, and why. */
interface Accepted {
  readonly file: string;
  readonly original: string;
  /** Without it: every change of that code. */
  readonly replacement?: string;
  readonly reason: string;
}

interface Survivor {
  readonly file: string;
  readonly line: number;
  readonly mutator: string;
  readonly original: string;
  readonly replacement: string;
  readonly verdict: string;
  readonly accepted?: string;
}

interface Counts {
  killed: number;
  timeout: number;
  survived: number;
  "not reached": number;
  accepted: number;
}

export interface Score {
  readonly package: string;
  readonly mutants: number;
  /** Less than `mutants` where a run was stopped. What is open may have survived with earlier tests. */
  readonly judged: number;
  /** The score if everything open survived. */
  readonly atLeast: number;
  readonly counts: Counts;
  /** Killed (timeouts too) of all that are not accepted, in percent. */
  readonly score: number;
  /** The same with the accepted ones counted as survivors. */
  readonly scoreWithAccepted: number;
  readonly ignoredTexts: number;
  readonly files: Readonly<Record<string, { readonly mutants: number; readonly score: number }>>;
  readonly survivors: readonly Survivor[];
}

export interface ScoreInput {
  readonly name: string;
  readonly mutants: readonly Mutant[];
  readonly verdictOf: (mutant: Mutant) => Judged | undefined;
  readonly ignored: number;
  readonly accepted: readonly Accepted[];
}

/** Of the mutants that were judged. */
export function scoreOf({ name, mutants, verdictOf, ignored, accepted }: ScoreInput): Score {
  const counts: Counts = { killed: 0, timeout: 0, survived: 0, "not reached": 0, accepted: 0 };
  const files = new Map<string, { killed: number; all: number }>();
  const survivors: Survivor[] = [];
  for (const mutant of mutants) {
    const judged = verdictOf(mutant);
    if (judged === undefined) continue;
    const isKill = judged.verdict === "killed" || judged.verdict === "timeout";
    const rule = isKill ? undefined : accepted.find((entry) => covers(entry, mutant));
    counts[rule === undefined ? judged.verdict : "accepted"] += 1;
    if (!isKill) survivors.push(survivorOf(mutant, judged, rule));
    if (rule !== undefined) continue;
    const file = files.get(mutant.file) ?? { killed: 0, all: 0 };
    files.set(mutant.file, { killed: file.killed + (isKill ? 1 : 0), all: file.all + 1 });
  }
  const killed = counts.killed + counts.timeout;
  const open = counts.survived + counts["not reached"];
  return {
    package: name,
    mutants: mutants.length,
    judged: killed + open + counts.accepted,
    atLeast: percent(killed, mutants.length - counts.accepted),
    counts,
    score: percent(killed, killed + open),
    scoreWithAccepted: percent(killed, killed + open + counts.accepted),
    ignoredTexts: ignored,
    files: Object.fromEntries(
      [...files]
        .toSorted(([a], [b]) => a.localeCompare(b))
        .map(([file, { killed: done, all }]) => [file, { mutants: all, score: percent(done, all) }]),
    ),
    survivors,
  };
}

const percent = (part: number, whole: number): number => (whole === 0 ? 100 : Math.round((1000 * part) / whole) / 10);

function covers(entry: Accepted, mutant: Mutant): boolean {
  return (
    entry.file === mutant.file &&
    sameCode(entry.original, mutant.original) &&
    (entry.replacement === undefined || sameCode(entry.replacement, mutant.replacement))
  );
}

/** Line breaks, blanks and trailing commas are the formatter's. */
function sameCode(left: string, right: string): boolean {
  const bare = (code: string) => code.replace(/\s+/g, "").replace(/,(?=[)\]}])/g, "");
  return bare(left) === bare(right);
}

function survivorOf(
  { file, line, mutator, original, replacement }: Mutant,
  { verdict }: Judged,
  rule: Accepted | undefined,
): Survivor {
  return {
    file,
    line,
    mutator,
    original,
    replacement,
    verdict,
    ...(rule === undefined ? {} : { accepted: rule.reason }),
  };
}

export function readAccepted(folder: string): readonly Accepted[] {
  const path = join(folder, "accepted.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Accepted[]) : [];
}

export function writeScore(folder: string, score: Score): void {
  mkdirSync(folder, { recursive: true });
  const { survivors, ...head } = score;
  const shown = survivors.map((survivor) => ({
    ...survivor,
    original: shorten(survivor.original),
    replacement: shorten(survivor.replacement),
  }));
  writeFileSync(
    join(folder, `${score.package}.json`),
    `${JSON.stringify(head, undefined, 1).slice(0, -2)},\n "survivors": [\n${shown.map((survivor) => `  ${JSON.stringify(survivor)}`).join(",\n")}\n ]\n}\n`,
  );
}

/** For people: totals, files from worst to best, survivors with the reason where they are accepted. */
export function printScore(score: Score, print: (line: string) => void): void {
  const { counts } = score;
  const part =
    score.judged === score.mutants
      ? ""
      : ` of the ${score.judged} judged so far of ${score.mutants}, so at least ${score.atLeast} %`;
  print(
    `\n${score.package}: ${score.score} %${part} (${counts.killed} killed, ${counts.timeout} endless, ${counts.survived} survived, ${counts["not reached"]} not reached; ${counts.accepted} accepted, with them ${score.scoreWithAccepted} %; ${score.ignoredTexts} texts left out)`,
  );
  for (const [file, { mutants, score: own }] of Object.entries(score.files).toSorted(
    ([, a], [, b]) => a.score - b.score,
  ))
    print(`  ${own.toFixed(1).padStart(5)} %  ${String(mutants).padStart(4)}  ${file}`);
  for (const accepted of [false, true]) {
    for (const survivor of score.survivors.filter((each) => (each.accepted !== undefined) === accepted)) {
      print(
        `  ${accepted ? "accepted" : survivor.verdict}  ${survivor.file}:${survivor.line}  ${shorten(survivor.original)}  ->  ${shorten(survivor.replacement)}${accepted ? `  (${survivor.accepted})` : ""}`,
      );
    }
  }
}

const shorten = (code: string): string => {
  const line = code.replace(/\s+/g, " ");
  return line.length > 100 ? `${line.slice(0, 97)}...` : line;
};
