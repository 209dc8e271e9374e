import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join, relative } from "node:path";
import { run } from "node:test";
import { recordedVectors } from "../tests/vectors/vector-sets.ts";
import { chooseKinds, filesOf, ROOT, type Kind } from "./test-kinds.ts";
import { describeFailure, exitCodeOf, type Counts } from "./test-report.ts";

/**
 * Every check of the repository: types, layout, lint, then the tests by kind, the cheap ones first. Ends
 * with one line, `N passed, N failed, N skipped`, and exit code 1 where something failed or was skipped:
 * what is skipped is not tested, and nobody would look. Kinds given as arguments, or as
 * DSTACK_TEST_ONLY=unit,int, are the only ones that run; the kind `long` runs only then.
 */
const MINUTE_MS = 60_000;
/** What everybody waits for before a change lands; long runs are given as much as they need. */
const WHOLE_LIMIT_MS = 35 * MINUTE_MS;
/** Two deployments, each with two guests of 2 GiB, and the page cache that their disks want. */
const TWO_DEPLOYMENTS_BYTES = 20 * 2 ** 30;
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
}

// What tests leave in the temporary folder goes with them. Its name is short: Unix sockets lie in it.
process.env.TMPDIR = mkdtempSync(join(tmpdir(), "dt-"));

const started = performance.now();
let total: Counts = { passed: 0, failed: 0, skipped: 0 };
const kinds = chooseKinds(process.argv.slice(2), process.env["DSTACK_TEST_ONLY"]);
if (typeof kinds === "string") {
  say(kinds);
  process.exit(2);
}
if (!kinds.includes("long")) setTimeout(() => stop.abort(new Error("35 minutes are over")), WHOLE_LIMIT_MS).unref();
for (const kind of kinds) {
  if (stop.signal.aborted) break;
  total = sum(total, await phases()[kind]());
}
if (stop.signal.aborted) {
  say(`stopped before the end: ${String(stop.signal.reason)}`);
  total = { ...total, failed: total.failed + 1 };
}
say(
  `recorded data beside the checkout: ${recordedVectors === undefined ? "none, own data alone" : recordedVectors.root}`,
);
try {
  // What a test that was ended left running may still write.
  rmSync(process.env.TMPDIR, { recursive: true, force: true, maxRetries: 5, retryDelay: 300 });
} catch (error) {
  say(`${process.env.TMPDIR} stays: ${String(error)}`);
}
say(`the whole took ${seconds(started)} s`);
say(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(exitCodeOf(total));

function phases(): Record<Kind, () => Promise<Counts>> {
  return {
    types: () => program("types", bin("tsc"), ["-p", "."], 3 * MINUTE_MS),
    layout: () => program("layout", bin("oxfmt"), ["--check"], MINUTE_MS),
    lint: async () => {
      const source = await program("lint", bin("oxlint"), ["--quiet", "--type-aware"], 2 * MINUTE_MS);
      const unused = await program(
        "what nothing uses",
        bin("knip"),
        ["--no-progress", "--no-config-hints"],
        2 * MINUTE_MS,
      );
      return sum(source, unused);
    },
    unit: () => tests("unit and property tests", "unit", { concurrency: 2, limitMs: 5 * MINUTE_MS }),
    // Before the tests that boot it or look into it; done in a second where nothing changed.
    image: () =>
      program(
        "guest image",
        process.execPath,
        ["--", "cli/src/main.ts", "image", "build", "--flavour", "sim"],
        12 * MINUTE_MS,
      ),
    int: () => tests("integration tests", "int", { concurrency: 2, limitMs: 13 * MINUTE_MS }),
    // Each file has ports, state folder and network device of its own; only memory decides how many run at a time.
    e2e: () =>
      tests("end-to-end tests", "e2e", {
        concurrency: freemem() >= TWO_DEPLOYMENTS_BYTES ? 2 : 1,
        limitMs: 18 * MINUTE_MS,
      }),
    long: () => tests("long tests", "long", { concurrency: 1, limitMs: 60 * MINUTE_MS }),
  };
}

function bin(name: string): string {
  return join(ROOT, "node_modules", ".bin", name);
}

/** One program as one check: its output shows only when it fails. */
async function program(title: string, command: string, args: string[], limitMs: number): Promise<Counts> {
  const begun = performance.now();
  say(`== ${title}`);
  const output: string[] = [];
  const code = await new Promise<number>((resolve) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(limitMs)]),
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => output.push(text));
    }
    child.on("error", (error) => {
      output.push(`${error.message}\n`);
      resolve(1);
    });
    child.on("close", (exitCode) => resolve(exitCode ?? 1));
  });
  if (code !== 0) say(output.join("").split("\n").slice(-200).join("\n"));
  say(`${code === 0 ? "ok" : "FAILED"}  ${title}  ${seconds(begun)} s`);
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}

/** The test files of some kinds, one process each; one line per file, failures in full. */
async function tests(title: string, kind: Kind, limits: { concurrency: number; limitMs: number }): Promise<Counts> {
  const files = filesOf(kind);
  say(`== ${title}: ${files.length} files`);
  const begun = performance.now();
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const skips = new Set<string>();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(limits.limitMs)]);
  const stderr = new Map<string, string>();
  for await (const event of run({ files, cwd: ROOT, concurrency: limits.concurrency, signal })) {
    switch (event.type) {
      case "test:stderr":
        stderr.set(event.data.file, ((stderr.get(event.data.file) ?? "") + event.data.message).slice(-20_000));
        break;
      case "test:fail": {
        const text = describeFailure(event.data, stderr.get(event.data.file ?? "") ?? "");
        if (text !== undefined) say(text);
        break;
      }
      case "test:pass":
        if (typeof event.data.skip === "string") skips.add(event.data.skip);
        break;
      case "test:summary": {
        const { passed, failed, cancelled, skipped, todo, tests: all } = event.data.counts;
        if (event.data.file !== undefined) {
          const word = failed + cancelled === 0 ? "ok" : "FAILED";
          say(
            `${word}  ${relative(ROOT, event.data.file)}  ${all} tests  ${(event.data.duration_ms / 1000).toFixed(1)} s`,
          );
        } else {
          counts.passed = passed;
          counts.failed = failed + cancelled;
          counts.skipped = skipped + todo;
        }
        break;
      }
      default:
        break;
    }
  }
  if (signal.aborted) {
    counts.failed += 1;
    say(`FAILED  ${title} did not end within ${limits.limitMs / MINUTE_MS} minutes (or was stopped)`);
  }
  for (const reason of skips) say(`skipped: ${reason}`);
  say(`${title}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped in ${seconds(begun)} s`);
  return counts;
}

function sum(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
