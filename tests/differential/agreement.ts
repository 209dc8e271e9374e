import assert from "node:assert/strict";
import { test } from "node:test";
import { recordedTest } from "../vectors/vector-sets.ts";
import { combinedEdits, compare, randomChanges, singleEdits, unusedRows } from "./compare.ts";
import type { Comparison } from "./compare.ts";
import { realEvidence } from "./recorded.ts";

/** Rows that only whole-document changes or rare bytes bring up. */
const RARE = new Set(["strict-quote", "strict-der", "sent-root"]);

/**
 * Declares the comparisons of evidence that is changed at random: the same ones for the same seed, `times` as
 * many. More than the usual number also says what was compared.
 */
export function testAgreement(seed: number, times: number): void {
  const assertExplained = (comparison: Comparison, title: string): void => {
    const { unexplained, compared, bothAccept, bothRefuse, explained } = comparison;
    if (times > 1)
      process.stdout.write(
        `${title}: ${compared} compared, ${bothAccept} both accept, ${bothRefuse} both refuse, explained: ${JSON.stringify(Object.fromEntries(explained))}\n`,
      );
    assert.deepEqual(unexplained, [], `seed ${seed}`);
    if (compared >= 100) assert.ok(bothAccept > 0 && bothRefuse > 0);
  };

  test("agrees on each rule broken alone, except where the table says who is right", () => {
    const result = compare(singleEdits(seed, 2 * times));
    assertExplained(result, "single edits");
    assert.deepEqual(
      unusedRows(result.explained.keys()).filter((id) => !RARE.has(id)),
      [],
      "rows of the table that nothing needs",
    );
  });

  test("agrees on rules broken together", () => {
    assertExplained(compare(combinedEdits(seed, 150 * times)), "combined edits");
  });

  test("agrees on bytes and members changed at random", () => {
    assertExplained(compare(randomChanges(seed, 150 * times)), "random changes");
  });

  recordedTest("agrees on real quotes changed at random", (set) => {
    for (const evidence of realEvidence(set).slice(0, 4))
      assertExplained(compare(randomChanges(seed, 15 * times, evidence)), evidence.id);
  });
}
