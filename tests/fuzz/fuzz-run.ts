import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Random } from "./random.ts";
import type { Target } from "./target.ts";

export interface FuzzOptions {
  readonly count: number;
  readonly seed: number;
  /** Sees each input before it is read, so that one that never comes back is not lost. */
  readonly before?: (input: Uint8Array) => void;
  readonly limits?: FuzzLimits;
}

export interface FuzzLimits {
  readonly inputMs: number;
  /** Growth between the first tenth of the run and its end, after collection. */
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export interface Finding {
  readonly kind: "crash" | "hang";
  /** Number of the execution, from 1. */
  readonly execution: number;
  readonly input: Uint8Array;
  readonly text: string;
}

export interface FuzzReport {
  readonly executions: number;
  readonly accepted: number;
  readonly seconds: number;
  readonly slowestMs: number;
  readonly corpus: number;
  readonly heapGrowthBytes: number;
  readonly residentGrowthBytes: number;
  readonly memoryGrew: boolean;
  readonly findings: readonly Finding[];
}

const LIMITS: FuzzLimits = { inputMs: 100, heapBytes: 16 * 1024 * 1024, residentBytes: 96 * 1024 * 1024 };
const MAX_CORPUS = 1024;
const MAX_FINDINGS = 20;
const INPUTS_PER_TURN = 64;

/**
 * Reads `count` mangled inputs. The same target, count and seed give the same inputs; an input whose
 * outcome was not seen before joins the corpus, so that later ones get further in.
 */
export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzReport> {
  const { count, seed, before = () => undefined, limits = LIMITS } = options;
  const random = new Random(seed);
  const seeds = target.seeds();
  const corpus = [...seeds];
  if (seeds.length === 0) throw new Error(`fuzz target ${target.name} has no seeds`);
  // Half of all inputs come straight from a seed: the corpus fills with what is refused early.
  const source = (): Uint8Array => random.pick(random.oneIn(2) ? seeds : corpus);
  const seen = new Set<string>();
  const findings: Finding[] = [];
  let accepted = 0;
  let slowestMs = 0;
  let warm = await memory();
  const warmAt = Math.ceil(count / 10);
  const started = performance.now();
  let execution = 0;
  while (execution < count && findings.length < MAX_FINDINGS) {
    const input = target.mutate(random, source(), source());
    before(input);
    execution += 1;
    const outcome = timed(target, input);
    const tookMs = outcome.tookMs > limits.inputMs ? quickestMs(target, input, outcome.tookMs) : outcome.tookMs;
    slowestMs = Math.max(slowestMs, tookMs);
    if (outcome.kind === "accepted") accepted += 1;
    if (outcome.kind === "crash")
      findings.push({ kind: "crash", execution, input: Uint8Array.from(input), text: outcome.word });
    else if (tookMs > limits.inputMs)
      findings.push({
        kind: "hang",
        execution,
        input: Uint8Array.from(input),
        text: `${tookMs.toFixed(0)} ms, limit ${limits.inputMs}`,
      });
    else if (corpus.length < MAX_CORPUS && !seen.has(outcome.word)) {
      seen.add(outcome.word);
      corpus.push(Uint8Array.from(input));
    }
    if (execution === warmAt) warm = await memory();
    // A server does other things between two inputs: zlib, for one, gives its memory back only then.
    if (execution % INPUTS_PER_TURN === 0) await turn();
  }
  const seconds = (performance.now() - started) / 1000;
  const end = await memory();
  const heapGrowthBytes = end.heap - warm.heap;
  const residentGrowthBytes = end.resident - warm.resident;
  return {
    executions: execution,
    accepted,
    seconds,
    slowestMs,
    corpus: corpus.length,
    heapGrowthBytes,
    residentGrowthBytes,
    memoryGrew: heapGrowthBytes > limits.heapBytes || residentGrowthBytes > limits.residentBytes,
    findings,
  };
}

/** Reads one input. @returns undefined where it was accepted or properly refused, else the crash */
export function crashOf(target: Target, input: Uint8Array): string | undefined {
  const outcome = timed(target, input);
  return outcome.kind === "crash" ? outcome.word : undefined;
}

interface Outcome {
  readonly kind: "accepted" | "refused" | "crash";
  readonly word: string;
  readonly tookMs: number;
}

function timed(target: Target, input: Uint8Array): Outcome {
  const begun = performance.now();
  try {
    const word = target.run(input);
    return { kind: "accepted", word, tookMs: performance.now() - begun };
  } catch (error) {
    const tookMs = performance.now() - begun;
    if (target.isRefusal(error)) return { kind: "refused", word: wordOf(error), tookMs };
    return { kind: "crash", word: error instanceof Error ? (error.stack ?? error.message) : String(error), tookMs };
  }
}

/** A machine that is busy elsewhere stops everybody for longer than that now and then: the input's own time is the least of five. */
function quickestMs(target: Target, input: Uint8Array, first: number): number {
  let least = first;
  for (let i = 0; i < 4; i++) least = Math.min(least, timed(target, input).tookMs);
  return least;
}

/** A refusal without its particulars: equal for inputs that were refused at the same place. */
function wordOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // A SyntaxError quotes the input.
  const text =
    error.cause instanceof Error && !(error.cause instanceof SyntaxError)
      ? `${error.message} ${error.cause.message}`
      : error.message;
  return text
    .slice(0, 200)
    .replace(/"[^"]*"/g, '""')
    .replace(/[0-9a-f]{6,}|\d+/gi, "#");
}

async function memory(): Promise<{ readonly heap: number; readonly resident: number }> {
  for (let turns = 0; turns < 3; turns++) await turn();
  collectGarbage();
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  return { heap: heapUsed + arrayBuffers, resident: rss };
}

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
}
