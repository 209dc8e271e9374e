import { spawn } from "node:child_process";
import { globSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import { describeFailure } from "./test-report.ts";

/**
 * Every check of the repository: types, lint, then the tests by kind, the cheap ones first. Ends
 * with one line, `N passed, N failed, N skipped`, and exit code 1 where something failed.
 * DSTACK_TEST_ONLY=types,layout,lint,unit,image,int,e2e picks kinds.
 */
const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FOLDERS = "{libs/*/test,services/*/test,cli/test,contracts/test,scripts/test,tests}";
const KINDS = ["types", "layout", "lint", "unit", "image", "int", "e2e"] as const;
type Kind = (typeof KINDS)[number];

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const MINUTE_MS = 60_000;
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
}

// What tests leave in the temporary folder goes with them. Its name is short: Unix sockets lie in it.
process.env.TMPDIR = mkdtempSync(join(tmpdir(), "dt-"));

const started = performance.now();
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
for (const kind of chosenKinds(process.env.DSTACK_TEST_ONLY)) {
  if (stop.signal.aborted) break;
  add(await phases()[kind]());
}
if (stop.signal.aborted) {
  say("stopped before the end");
  total.failed += 1;
}
rmSync(process.env.TMPDIR, { recursive: true, force: true });
say(`the whole took ${seconds(started)} s`);
say(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);

function phases(): Record<Kind, () => Promise<Counts>> {
  return {
    types: () => program("types", join(ROOT, "node_modules", ".bin", "tsc"), ["-p", "."], 5 * MINUTE_MS),
    layout: () => program("layout", join(ROOT, "node_modules", ".bin", "oxfmt"), ["--check"], MINUTE_MS),
    lint: () => program("lint", join(ROOT, "node_modules", ".bin", "oxlint"), ["--quiet"], 2 * MINUTE_MS),
    unit: () => tests("unit and property tests", ["test", "prop"], { concurrency: 2, limitMs: 5 * MINUTE_MS }),
    // Before the tests that boot it or look into it; done in a second where nothing changed.
    image: () =>
      program(
        "guest image",
        process.execPath,
        ["cli/src/main.ts", "image", "build", "--flavour", "sim"],
        12 * MINUTE_MS,
      ),
    int: () => tests("integration tests", ["int"], { concurrency: 2, limitMs: 9 * MINUTE_MS }),
    e2e: () => tests("end-to-end tests", ["e2e"], { concurrency: 1, limitMs: 15 * MINUTE_MS }),
  };
}

function chosenKinds(only: string | undefined): readonly Kind[] {
  if (only === undefined || only === "") return KINDS;
  const wanted = only.split(",");
  const unknown = wanted.filter((kind) => !(KINDS as readonly string[]).includes(kind));
  if (unknown.length > 0) {
    say(`DSTACK_TEST_ONLY names ${unknown.join(", ")}; there are ${KINDS.join(", ")}`);
    process.exit(2);
  }
  return KINDS.filter((kind) => wanted.includes(kind));
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
async function tests(
  title: string,
  kinds: readonly string[],
  limits: { concurrency: number; limitMs: number },
): Promise<Counts> {
  const files = filesOf(kinds);
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

// hex.test.ts is of kind "test", hex.prop.test.ts "prop", hex.int.test.ts "int", hex.e2e.test.ts "e2e".
function filesOf(kinds: readonly string[]): string[] {
  return globSync(`${FOLDERS}/**/*.test.ts`, { cwd: ROOT, exclude: ["**/node_modules/**"] })
    .filter((file) => kinds.includes(/\.(prop|int|e2e)\.test\.ts$/.exec(file)?.[1] ?? "test"))
    .sort()
    .map((file) => join(ROOT, file));
}

function add(counts: Counts): void {
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
