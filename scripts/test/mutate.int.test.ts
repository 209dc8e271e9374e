import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { promisify } from "node:util";
import { instrument } from "../mutate/instrument.ts";
import type { Mutant } from "../mutate/instrument.ts";
import { JobPlanner } from "../mutate/plan-jobs.ts";
import type { JobResult } from "../mutate/protocol.ts";
import { scoreOf } from "../mutate/score.ts";
import { VerdictStore } from "../mutate/verdicts.ts";
import { JudgeProcess } from "../mutate/worker-pool.ts";

const ROOT = dirname(dirname(import.meta.dirname));

const SOURCE = `
const LIMIT = 10 + 5;
const seen = new Map<number, boolean>();
export function isAllowed(value: number): boolean {
  if (value > LIMIT) throw new RangeError("value: too large");
  return value >= 3;
}
export function count(to: number): number {
  let n = 0;
  for (let i = 0; i < to; i += 1) n += 1;
  return n;
}
export function remembered(value: number): boolean {
  const known = seen.get(value);
  if (known !== undefined) return known;
  const answer = value === 7;
  seen.set(value, answer);
  return answer;
}
export const unused = (a: number): number => a * 2;
`;
const TESTS = `
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { count, isAllowed, remembered } from "../src/lib.ts";
describe("lib", () => {
  it("allows", () => { assert.equal(isAllowed(15), true); assert.equal(isAllowed(1), false); assert.throws(() => isAllowed(16), RangeError); });
  it("counts", async (t) => { await t.test("inner", () => assert.equal(count(4), 4)); });
  it("remembers", () => { assert.equal(remembered(7), true); assert.equal(remembered(8), false); });
  it("is left out", { skip: "no reason" }, () => assert.fail());
});
`;

describe("the mutation run", () => {
  const root = mkdtempSync(join(tmpdir(), "mutate-test-"));
  const judge = new JudgeProcess({ root, entries: ["src/lib.ts"], tests: ["test/lib.test.ts"] });
  after(() => {
    judge.stop();
    rmSync(root, { recursive: true, force: true });
  });

  test("tells what tests notice from what they do not", async () => {
    const { sources, mutants, ignored } = await instrument(new Map([["src/lib.ts", SOURCE]]));
    for (const [file, content] of [
      ...sources,
      ["test/lib.test.ts", TESTS] as const,
      ["package.json", '{"type":"module"}'] as const,
    ]) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), content);
    }
    assert.ok(ignored >= 1, "the text of an error is left out");
    const survey = await judge.survey();
    assert.deepEqual(
      [survey.broken, survey.units.map(({ id }) => id.split(" > ").at(-1))],
      [[], ["allows", "counts", "remembers"]],
    );
    const planner = new JobPlanner(survey, mutants);
    const verdictOf = async (original: string, replacement: string): Promise<string> => {
      const mutant = mutants.find((each: Mutant) => each.original === original && each.replacement === replacement);
      assert.ok(
        mutant,
        `${original} -> ${replacement} is among ${mutants.map((each) => `${each.original} -> ${each.replacement}`).join(", ")}`,
      );
      const job = planner.plan(mutant.id);
      if (job === undefined) return "not reached";
      const { verdict }: JobResult = await judge.judge(job);
      return verdict;
    };
    assert.equal(await verdictOf("value > LIMIT", "value >= LIMIT"), "killed");
    assert.equal(await verdictOf("value > LIMIT", "false"), "killed");
    assert.equal(await verdictOf("value >= 3", "value > 3"), "survived");
    assert.equal(await verdictOf("10 + 5", "10 - 5"), "killed", "code that runs at load is loaded afresh");
    assert.equal(await verdictOf("value === 7", "true"), "killed", "what an earlier run remembered hides nothing");
    assert.equal(await verdictOf("i += 1", "i -= 1"), "timeout", "an endless loop ends");
    assert.equal(await verdictOf("a * 2", "a / 2"), "not reached");
    assert.equal(await verdictOf("value > LIMIT", "true"), "killed", "the worker is as good as new after all that");
  });

  test("goes on where it was stopped, and judges survivors again when the tests change", () => {
    const path = join(root, "state", "verdicts.jsonl");
    const first = new VerdictStore(path, "tests-1");
    first.add("a", { verdict: "killed", by: "x" });
    first.add("b", { verdict: "survived" });
    writeFileSync(path, '{"key":"half', { flag: "a" });
    assert.equal(new VerdictStore(path, "tests-1").get("b")?.verdict, "survived");
    const changed = new VerdictStore(path, "tests-2");
    assert.deepEqual(
      [changed.get("a")?.verdict, changed.get("b"), changed.get("half")],
      ["killed", undefined, undefined],
    );
  });

  test("counts accepted survivors apart, by the very code they were accepted for", () => {
    const mutant = (id: string, replacement: string): Mutant => ({
      id,
      key: id,
      file: "f.ts",
      line: 1,
      mutator: "M",
      original: "a < b",
      replacement,
    });
    const score = scoreOf({
      name: "x",
      ignored: 0,
      mutants: [mutant("1", "true"), mutant("2", "a <= b"), mutant("3", "false")],
      accepted: [{ file: "f.ts", original: "a < b", replacement: "a <= b", reason: "equal" }],
      verdictOf: ({ id }) => ({ verdict: id === "1" ? "killed" : "survived" }),
    });
    assert.deepEqual([score.score, score.scoreWithAccepted, score.counts.accepted], [50, 33.3, 1]);
  });
});

// Bounded: a part of the mutants of what changed, in a fixed order. The whole is `npm run mutate`.
test("tests notice changes in the sources that this line of work touched", { timeout: 8 * 60_000 }, async (t) => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["scripts/mutate/main.ts", "--changed", "--seconds", "40", "--at-least", "60"],
    { cwd: ROOT, maxBuffer: 1 << 26 },
  );
  t.diagnostic(
    stdout
      .split("\n")
      .filter((line) => / %/.test(line) && !line.startsWith("  "))
      .join("; "),
  );
  assert.match(stdout, /nothing judged|judged in/);
});
