import { createHash } from "node:crypto";
import { globSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { changedFiles } from "./changed-files.ts";
import { copyCheckout, writeSources } from "./copy-checkout.ts";
import { instrument } from "./instrument.ts";
import type { Mutant } from "./instrument.ts";
import { NOT_IN_PROCESS, PACKAGES, TESTS } from "./packages.ts";
import { JobPlanner } from "./plan-jobs.ts";
import { printScore, readAccepted, scoreOf, writeScore } from "./score.ts";
import { VerdictStore } from "./verdicts.ts";
import { JudgeProcess } from "./worker-pool.ts";

const USAGE = `usage: npm run mutate -- [options]      changes the evidence libraries one place at a time; the tests must notice
  --package NAME      attest, ratls or measure; all where absent
  --file TEXT         only sources whose path holds TEXT
  --shard I/N         only the I-th of N parts
  --workers N         processes (2)
  --seconds N         stop judging after that time; the rest keeps for the next run
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
    package: { type: "string" }, file: { type: "string" }, shard: { type: "string", default: "1/1" }, workers: { type: "string", default: "2" }, seconds: { type: "string", default: "86400" },
    "at-least": { type: "string", default: "0" }, fresh: { type: "boolean" }, report: { type: "boolean" }, keep: { type: "boolean" }, changed: { type: "boolean" }, help: { type: "boolean" },
  },
});
const shard = /^([1-9]\d*)\/([1-9]\d*)$/.exec(options.shard);
if (options.help === true || shard === null || (options.package !== undefined && !PACKAGES.some(({ name }) => name === options.package))) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else {
  process.exitCode = await run(Number(shard[1]), Number(shard[2]));
}

async function run(part: number, parts: number): Promise<number> {
  const files = chosenSources();
  if (files === undefined) return 0;
  const tests = TESTS.flatMap((pattern) => globSync(pattern, { cwd: ROOT })).filter((file) => !NOT_IN_PROCESS.some((pattern) => pattern.test(file))).toSorted();
  const instrumented = await instrument(new Map(files.map((file) => [file, readFileSync(join(ROOT, file), "utf8")])));
  if (options.fresh === true) rmSync(STATE, { force: true });
  const store = new VerdictStore(STATE, testsHash(tests));
  const own = instrumented.mutants.filter(({ key }) => Number.parseInt(key.slice(0, 8), 16) % parts === part - 1);
  const open = own.filter(({ key }) => store.get(key) === undefined).toSorted((a, b) => a.key.localeCompare(b.key));
  say(`${files.length} files, ${instrumented.mutants.length} mutants, ${own.length} in this part, ${open.length} to judge`);
  if (open.length > 0 && options.report !== true) await judgeAll(open, instrumented, tests, store);

  const accepted = readAccepted(KEPT);
  let worst = 100;
  for (const { name, sources } of PACKAGES) {
    const mutants = own.filter(({ file }) => file.startsWith(`${sources}/`));
    if (mutants.length === 0) continue;
    const score = scoreOf({ name, mutants, verdictOf: ({ key }) => store.get(key), ignored: instrumented.ignored, accepted });
    printScore(score, say);
    if (options.keep === true) writeScore(KEPT, score);
    worst = Math.min(worst, score.score);
  }
  return worst < Number(options["at-least"]) ? 1 : 0;
}

/** Undefined where there is nothing to do. */
function chosenSources(): string[] | undefined {
  const all = PACKAGES.filter(({ name }) => options.package === undefined || name === options.package)
    .flatMap(({ sources }) => globSync(`${sources}/**/*.ts`, { cwd: ROOT }))
    .filter((file) => options.file === undefined || file.includes(options.file))
    .toSorted();
  if (options.changed !== true) return all;
  const changed = changedFiles(ROOT);
  if (!changed.known) {
    say(`mutate: ${changed.reason}; nothing judged`);
    return undefined;
  }
  const files = all.filter((file) => changed.files.has(file));
  if (files.length > 0) return files;
  say("mutate: no source of the evidence libraries differs from main; nothing judged");
  return undefined;
}

async function judgeAll(open: readonly Mutant[], instrumented: Awaited<ReturnType<typeof instrument>>, tests: readonly string[], store: VerdictStore): Promise<void> {
  const copy = copyCheckout(ROOT);
  const stop = new AbortController();
  const judges: JudgeProcess[] = [];
  const onSignal = (): void => stop.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, onSignal);
  try {
    writeSources(copy, instrumented.sources);
    const start = { root: copy, entries: PACKAGES.flatMap(({ entries }) => entries), tests };
    for (let i = 0; i < Number(options.workers); i++) judges.push(new JudgeProcess(start));
    const begun = performance.now();
    const survey = await judges[0]!.survey();
    const seconds = (since: number): number => Math.round((performance.now() - since) / 1000);
    say(`${survey.units.length} tests in ${tests.length} files, surveyed in ${seconds(begun)} s`);
    for (const broken of survey.broken) say(`  does not pass without mutants and judges nothing: ${broken}`);
    const planner = new JobPlanner(survey, instrumented.mutants);
    const queue = [...open];
    const judgingSince = performance.now();
    let done = 0;
    await Promise.all(judges.map(async (judge) => {
      for (let mutant = queue.shift(); mutant !== undefined && !stop.signal.aborted && seconds(judgingSince) < Number(options.seconds); mutant = queue.shift()) {
        const job = planner.plan(mutant.id);
        const result = job === undefined ? { verdict: "not reached" as const } : await judge.judge(job);
        store.add(mutant.key, { verdict: result.verdict, ...("by" in result && result.by !== undefined ? { by: result.by } : {}) });
        done += 1;
        if (done % 200 === 0) say(`${done} of ${open.length} in ${seconds(judgingSince)} s`);
      }
    }));
    say(`${done} judged in ${seconds(judgingSince)} s`);
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
