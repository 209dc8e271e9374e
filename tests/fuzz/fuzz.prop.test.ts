import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { findingsOf } from "./findings.ts";
import { fuzzGuarded } from "./fuzz-guarded.ts";
import { crashOf, fuzz } from "./fuzz-run.ts";
import { mutateBytes } from "./mutate-bytes.ts";
import type { Target } from "./target.ts";
import { TARGETS } from "./targets/index.ts";

const SMOKE = 2000;

for (const target of TARGETS.values()) {
  test(`${target.name}: ${SMOKE} mangled inputs crash nothing, and inputs that once did no longer do`, async () => {
    for (const { file, input } of findingsOf(target)) assert.equal(crashOf(target, input), undefined, file);
    for (const seed of target.seeds()) assert.equal(crashOf(target, seed), undefined);
    // Time and memory are judged by `npm run fuzz`, not on a machine that is busy with other tests.
    const limits = { inputMs: Infinity, heapBytes: Infinity, residentBytes: Infinity };
    const report = await fuzz(target, { count: SMOKE, seed: 7, limits });
    assert.deepEqual(
      report.findings.map(({ text, input }) => `${text}: ${Buffer.from(input).toString("base64")}`),
      [],
    );
    assert.equal(report.executions, SMOKE);
    assert.ok(report.accepted > 0, "some inputs get through to the end");
  });
}

describe("the fuzzer itself", () => {
  const planted = (run: (input: Uint8Array) => string): Target => ({
    name: "planted",
    about: "a reader with a planted fault",
    findings: "none",
    seeds: () => [new Uint8Array(64)],
    mutate: mutateBytes,
    run,
    isRefusal: (error) => error instanceof RangeError,
  });

  test("finds a crash and gives the input that made it", async () => {
    const target = planted((input) => {
      if (input[3] === 0x80) throw new TypeError("planted");
      throw new RangeError("refused");
    });
    const [finding] = (await fuzz(target, { count: 20_000, seed: 1 })).findings;
    assert.equal(finding?.kind, "crash");
    assert.match(crashOf(target, finding.input) ?? "", /planted/);
  });

  test("finds an input that takes too long each time it is read", async () => {
    const slow = planted((input) => {
      for (const end = performance.now() + (input.length > 66 ? 4 : 0); performance.now() < end;);
      return "read";
    });
    const { findings } = await fuzz(slow, {
      count: 50,
      seed: 1,
      limits: { inputMs: 2, heapBytes: Infinity, residentBytes: Infinity },
    });
    assert.equal(findings[0]?.kind, "hang");
  });

  test("notices a reader that keeps what it read", async () => {
    const kept: Uint8Array[] = [];
    const report = await fuzz(
      planted((input) => {
        kept.push(new Uint8Array(4096).fill(input[0] ?? 0));
        return "read";
      }),
      { count: 6000, seed: 1, limits: { inputMs: Infinity, heapBytes: 4 * 2 ** 20, residentBytes: Infinity } },
    );
    assert.ok(report.memoryGrew);
    assert.equal(kept.length, 6000);
  });

  test("gives the same inputs for the same seed, and others for another", async () => {
    const inputs = async (seed: number): Promise<string> => {
      const all: string[] = [];
      await fuzz(
        planted((input) => `${all.push(Buffer.from(input).toString("hex"))}`),
        { count: 50, seed },
      );
      return all.join("\n");
    };
    assert.equal(await inputs(5), await inputs(5));
    assert.notEqual(await inputs(5), await inputs(6));
  });

  test("runs a target in a thread of its own", async () => {
    const report = await fuzzGuarded({ target: "app-info", count: 500, seed: 3 });
    assert.equal(report.executions, 500);
  });
});
