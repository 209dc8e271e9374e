/**
 * One process that judges mutants: loads the instrumented packages and their tests once, then runs
 * the tests that reach a mutant with that mutant switched on.
 */
import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { collect } from "./collector.ts";
import type { Unit } from "./collector.ts";
import type { FromWorker, Job, JobResult, Survey, ToWorker, WorkerStart } from "./protocol.ts";

/** The switchboard that instrumented code looks at. */
interface Switchboard {
  activeMutant?: string;
  currentTestId?: string;
  hitCount?: number;
  hitLimit?: number;
  mutantCoverage?: { static: Record<string, number>; perTest: Record<string, Record<string, number>> };
}

const start = JSON.parse(process.argv[2] ?? "") as WorkerStart;
const rootUrl = pathToFileURL(`${start.root}/`).href;
const collectorUrl = new URL("./collector.ts", import.meta.url).href;
const switchboard: Switchboard = {};
(globalThis as { __stryker__?: Switchboard }).__stryker__ = switchboard;
// The same random inputs in every run, and no search for the smallest: one failure is enough.
fc.configureGlobal({ seed: 1, numRuns: 40, endOnFailure: true });

let generation = 0;
registerHooks({
  resolve(specifier, context, next) {
    if (context.parentURL?.startsWith(rootUrl) !== true && !specifier.startsWith(rootUrl))
      return next(specifier, context);
    if (specifier === "node:test") return { url: collectorUrl, format: "module-typescript", shortCircuit: true };
    const resolved = next(specifier, context);
    // A new generation of URLs is a new load of every module: that is how code runs again which runs at load.
    const ours = resolved.url.startsWith(rootUrl) && !resolved.url.includes("/node_modules/");
    return ours ? { ...resolved, url: `${resolved.url.replace(/\?.*$/, "")}?g=${generation}` } : resolved;
  },
});

let stray: unknown;
process.on("unhandledRejection", (reason) => {
  stray = reason ?? new Error("rejected");
});
process.on("uncaughtException", (error) => {
  stray = error;
});

const send = (message: FromWorker): void => void process.send!(message);
let units = new Map<string, Unit>();

async function loadTests(files: readonly string[]): Promise<Map<string, Unit>> {
  const all = new Map<string, Unit>();
  for (const file of files) {
    send({ kind: "alive" });
    switchboard.currentTestId = `load:${file}`;
    const url = pathToFileURL(join(start.root, file)).href;
    for (const unit of await collect(file, () => import(url))) all.set(unit.id, unit);
  }
  delete switchboard.currentTestId;
  return all;
}

async function loadEverything(): Promise<void> {
  for (const entry of start.entries) await import(pathToFileURL(join(start.root, entry)).href);
  units = await loadTests(start.tests);
}

async function survey(): Promise<Survey> {
  const found: { id: string; file: string; ms: number; hits: Record<string, number> }[] = [];
  const broken: string[] = [];
  for (const unit of units.values()) {
    send({ kind: "alive" });
    switchboard.currentTestId = unit.id;
    const begun = performance.now();
    try {
      await unit.run();
    } catch (error) {
      broken.push(`${unit.id}: ${error instanceof Error ? error.message.slice(0, 300) : String(error)}`);
      continue;
    }
    const ms = performance.now() - begun;
    found.push({ id: unit.id, file: fileOf(unit.id), ms, hits: switchboard.mutantCoverage?.perTest[unit.id] ?? {} });
  }
  delete switchboard.currentTestId;
  const { static: loading = {}, perTest = {} } = switchboard.mutantCoverage ?? {};
  const files = Object.fromEntries(start.tests.map((file) => [file, perTest[`load:${file}`] ?? {}]));
  return { loading, files, units: found, broken };
}

async function judge(job: Job): Promise<JobResult> {
  switchboard.activeMutant = job.mutant;
  stray = undefined;
  try {
    const hidden: string[] = [];
    for (const { id, hitLimit, limitMs } of job.inPlace) {
      const result = await runUnit(units.get(id), hitLimit, limitMs);
      if (result !== undefined)
        return { ...result, poisoned: result.verdict === "killed" && (await failsWithoutMutant(id, limitMs)) };
      if (switchboard.hitCount === 0) hidden.push(id);
    }
    const reload = withHidden(job, hidden);
    return reload === undefined ? { verdict: "survived" } : { ...(await judgeAfresh(reload)), reloaded: true };
  } finally {
    delete switchboard.activeMutant;
    delete switchboard.hitLimit;
  }
}

/** What an earlier mutant left behind (a cache that a test file keeps) must not count as a kill. */
async function failsWithoutMutant(id: string, limitMs: number): Promise<boolean> {
  delete switchboard.activeMutant;
  stray = undefined;
  return (await runUnit(units.get(id), Number.MAX_SAFE_INTEGER, limitMs)) !== undefined;
}

/** Tests that reached the mutant at first and do so no more, for something is remembered: only a fresh load counts. */
function withHidden({ reload }: Job, hidden: readonly string[]): Job["reload"] {
  if (hidden.length === 0) return reload;
  return {
    files: [...new Set([...(reload?.files ?? []), ...hidden.map(fileOf)])],
    units: [...new Set([...hidden, ...(reload?.units ?? [])])],
    limitMs: reload?.limitMs ?? HIDDEN_LIMIT_MS,
  };
}

const HIDDEN_LIMIT_MS = 60_000;
const fileOf = (id: string): string => start.tests.find((test) => id === test || id.startsWith(`${test} >`)) ?? "";

const RELOAD_HIT_LIMIT = 10_000_000;

/** One test file after the other, for most mutants show in the first. */
async function judgeAfresh({ files, units: ids, limitMs }: NonNullable<Job["reload"]>): Promise<JobResult> {
  generation += 1;
  for (const file of files) {
    switchboard.hitCount = 0;
    switchboard.hitLimit = RELOAD_HIT_LIMIT;
    let fresh: Map<string, Unit>;
    try {
      fresh = await loadTests([file]);
    } catch {
      return { verdict: "killed", by: `loading ${file}` };
    }
    for (const id of ids.filter((each) => fresh.has(each))) {
      const result = await runUnit(fresh.get(id), RELOAD_HIT_LIMIT, limitMs);
      if (result !== undefined) return result;
    }
  }
  return { verdict: "survived" };
}

/** @returns undefined where the test passes */
async function runUnit(unit: Unit | undefined, hitLimit: number, limitMs: number): Promise<JobResult | undefined> {
  if (unit === undefined) return undefined;
  send({ kind: "alive" });
  switchboard.hitCount = 0;
  switchboard.hitLimit = hitLimit;
  const { promise: late, resolve } = Promise.withResolvers<"late">();
  const timer = setTimeout(() => resolve("late"), limitMs);
  try {
    if ((await Promise.race([unit.run().then(() => "passed" as const), late])) === "late")
      return { verdict: "timeout", by: unit.id, spoilt: true };
  } catch {
    return { verdict: switchboard.hitCount > hitLimit ? "timeout" : "killed", by: unit.id };
  } finally {
    clearTimeout(timer);
  }
  if (switchboard.hitCount > hitLimit) return { verdict: "timeout", by: unit.id };
  return stray === undefined ? undefined : { verdict: "killed", by: unit.id };
}

process.on("message", (message: ToWorker) => {
  const work =
    message.kind === "survey"
      ? survey().then((done) => send({ kind: "surveyed", survey: done }))
      : judge(message.job).then((result) => send({ kind: "done", result }));
  work.catch((error: unknown) => send({ kind: "failed", text: String(error) }));
});
process.on("disconnect", () => process.exit(0));
await loadEverything().then(
  () => send({ kind: "ready" }),
  (error: unknown) =>
    send({ kind: "failed", text: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
);
