import { createHash } from "node:crypto";
import { globSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { changedFiles } from "./changed-files.ts";
import { copyCheckout, writeSources } from "./copy-checkout.ts";
import { instrument } from "./instrument.ts";
import type { Instrumented, Mutant } from "./instrument.ts";
import { NOT_IN_PROCESS, PACKAGES } from "./packages.ts";
import type { MutatedPackage } from "./packages.ts";
import { JobPlanner } from "./plan-jobs.ts";
import type { JobResult } from "./protocol.ts";
import { printScore, readAccepted, scoreOf, writeScore } from "./score.ts";
import type { Score } from "./score.ts";
import { VerdictStore } from "./verdicts.ts";
import { JudgeProcess } from "./worker-pool.ts";

const USAGE = `usage: npm run mutate -- [options]      changes the evidence libraries one place at a time; the tests must notice
  --package NAME      attest, bytes, ratls or measure; all where absent
  --file TEXT         only sources whose path holds TEXT
  --shard I/N         only the I-th of N parts
  --workers N         processes (2)
  --seconds N         stop judging after that time, shared among the libraries; the rest keeps for the next run
  --fresh             forget earlier verdicts
  --report            judge nothing, print what is known
  --keep              write the score to bench/mutation
  --changed           only sources that differ from main; nothing to do where there is none
  --at-least PERCENT  exit code 1 below
`;

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const KEPT = join(ROOT, "bench", "mutation");
const STATE = join(ROOT, ".cache", "mutate", "verdicts.jsonl");

const { values: options } = parseArgs({
  options: {
    package: { type: "string" },
    file: { type: "string" },
    shard: { type: "string", default: "1/1" },
    workers: { type: "string", default: "2" },
    seconds: { type: "string", default: "86400" },
    "at-least": { type: "string", default: "0" },
    fresh: { type: "boolean" },
    report: { type: "boolean" },
    keep: { type: "boolean" },
    changed: { type: "boolean" },
    help: { type: "boolean" },
  },
});
const shard = /^([1-9]\d*)\/([1-9]\d*)$/.exec(options.shard);
if (
  options.help === true ||
  shard === null ||
  (options.package !== undefined && !PACKAGES.some(({ name }) => name === options.package))
) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else {
  process.exitCode = await run(Number(shard[1]), Number(shard[2]));
}

async function run(part: number, parts: number): Promise<number> {
  const isChosen = changeFilter();
  if (isChosen === undefined) return 0;
  if (options.fresh === true) rmSync(STATE, { force: true });
  const until = performance.now() + Number(options.seconds) * 1000;
  const chosen = PACKAGES.filter(({ name }) => options.package === undefined || name === options.package)
    .map((one) => ({ one, files: globSync(`${one.sources}/**/*.ts`, { cwd: ROOT }).filter(isChosen).toSorted() }))
    .filter(({ files }) => files.length > 0);
  if (chosen.length === 0) say("mutate: no source of the evidence libraries is meant; nothing judged");
  let worst = 100;
  for (const [index, { one, files }] of chosen.entries()) {
    const now = performance.now();
    const score = await runPackage(one, files, { part, parts, until: now + (until - now) / (chosen.length - index) });
    printScore(score, say);
    if (options.keep === true) writeScore(KEPT, score);
    worst = Math.min(worst, score.score);
  }
  return worst < Number(options["at-least"]) ? 1 : 0;
}

interface Share {
  readonly part: number;
  readonly parts: number;
  /** Of performance.now(). */
  readonly until: number;
}

async function runPackage(
  one: MutatedPackage,
  files: readonly string[],
  { part, parts, until }: Share,
): Promise<Score> {
  const tests = one.tests
    .flatMap((pattern) => globSync(pattern, { cwd: ROOT }))
    .filter((file) => !NOT_IN_PROCESS.test(file))
    .toSorted();
  const instrumented = await instrument(new Map(files.map((file) => [file, readFileSync(join(ROOT, file), "utf8")])));
  const store = new VerdictStore(STATE, testsHash(tests));
  const own = instrumented.mutants.filter(({ key }) => Number.parseInt(key.slice(0, 8), 16) % parts === part - 1);
  const open = own.filter(({ key }) => store.get(key) === undefined).toSorted((a, b) => a.key.localeCompare(b.key));
  say(
    `\n${one.name}: ${files.length} files, ${instrumented.mutants.length} mutants, ${own.length} in this part, ${open.length} to judge`,
  );
  if (open.length > 0 && options.report !== true) await judgeAll(open, { one, instrumented, tests, store, until });
  return scoreOf({
    name: one.name,
    mutants: own,
    verdictOf: ({ key }) => store.get(key),
    ignored: instrumented.ignored,
    accepted: readAccepted(KEPT),
  });
}

/** Which sources are meant; undefined where nobody can say. */
function changeFilter(): ((file: string) => boolean) | undefined {
  const isNamed = (file: string): boolean => options.file === undefined || file.includes(options.file);
  if (options.changed !== true) return isNamed;
  const changed = changedFiles(ROOT);
  if (changed.known) return (file) => isNamed(file) && changed.files.has(file);
  say(`mutate: ${changed.reason}; nothing judged`);
  return undefined;
}

interface Judging {
  readonly one: MutatedPackage;
  readonly instrumented: Instrumented;
  readonly tests: readonly string[];
  readonly store: VerdictStore;
  readonly until: number;
}

async function judgeAll(open: readonly Mutant[], { one, instrumented, tests, store, until }: Judging): Promise<void> {
  const copy = copyCheckout(ROOT);
  const stop = new AbortController();
  const judges: JudgeProcess[] = [];
  const onSignal = (): void => stop.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, onSignal);
  try {
    writeSources(copy, instrumented.sources);
    for (let i = 0; i < Number(options.workers); i++)
      judges.push(new JudgeProcess({ root: copy, entries: one.entries, tests }));
    const begun = performance.now();
    const seconds = (): number => Math.round((performance.now() - begun) / 1000);
    const survey = await judges[0]!.survey();
    say(`${survey.units.length} tests in ${tests.length} files, surveyed in ${seconds()} s`);
    for (const broken of survey.broken) say(`  does not pass without mutants and judges nothing: ${broken}`);
    const planner = new JobPlanner(survey, instrumented.mutants);
    const queue = [...open];
    let done = 0;
    await Promise.all(
      judges.map(async (judge) => {
        for (
          let mutant = queue.shift();
          mutant !== undefined && !stop.signal.aborted && performance.now() < until;
          mutant = queue.shift()
        ) {
          const job = planner.plan(mutant.id);
          const result: JobResult | { readonly verdict: "not reached" } =
            job === undefined ? { verdict: "not reached" } : await judge.judge(job);
          store.add(mutant.key, {
            verdict: result.verdict,
            ...("by" in result && result.by !== undefined ? { by: result.by } : {}),
          });
          done += 1;
          if (done % 200 === 0) say(`${done} of ${open.length} in ${seconds()} s`);
        }
      }),
    );
    say(`${done} judged in ${seconds()} s`);
  } finally {
    for (const judge of judges) judge.stop();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, onSignal);
    rmSync(dirname(copy), { recursive: true, force: true });
  }
}

function testsHash(tests: readonly string[]): string {
  const hash = createHash("sha256");
  for (const file of tests) hash.update(file).update(readFileSync(join(ROOT, file)));
  return hash.digest("hex").slice(0, 16);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
