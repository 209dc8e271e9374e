/**
 * Our verification against @phala/dcap-qvl, the reference's library in JavaScript, as an oracle. Where
 * they differ the table in differences.ts says why and the standard decides; what it does not explain
 * fails. DSTACK_DIFFERENTIAL=N compares N times as many cases.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { combinedEdits, compare, randomChanges, singleEdits, unusedRows } from "./compare.ts";
import type { Comparison } from "./compare.ts";
import { differenceById } from "./differences.ts";
import { recordedTest } from "../vectors/vector-sets.ts";
import { realEvidence, syntheticEvidence } from "./recorded.ts";
import { agree, ours, theirs } from "./verdicts.ts";

const TIMES = Number(process.env["DSTACK_DIFFERENTIAL"] ?? "1");
const SEED = 11;

/** Rows that only whole-document changes or rare bytes bring up. */
const RARE = new Set(["strict-quote", "strict-der", "sent-root"]);

function assertExplained(
  { unexplained, compared, bothAccept, bothRefuse, explained }: Comparison,
  title: string,
): void {
  if (TIMES > 1)
    process.stdout.write(
      `${title}: ${compared} compared, ${bothAccept} both accept, ${bothRefuse} both refuse, explained: ${JSON.stringify(Object.fromEntries(explained))}\n`,
    );
  assert.deepEqual(unexplained, []);
  if (compared >= 100) assert.ok(bothAccept > 0 && bothRefuse > 0);
}

test("agrees on each rule broken alone, except where the table says who is right", () => {
  const result = compare(singleEdits(SEED, 2 * TIMES));
  assertExplained(result, "single edits");
  assert.deepEqual(
    unusedRows(result.explained.keys()).filter((id) => !RARE.has(id)),
    [],
    "rows of the table that nothing needs",
  );
});

test("agrees on rules broken together", () => {
  assertExplained(compare(combinedEdits(SEED, 150 * TIMES)), "combined edits");
});

test("agrees on bytes and members changed at random", () => {
  assertExplained(compare(randomChanges(SEED, 150 * TIMES)), "random changes");
});

recordedTest("agrees on real quotes changed at random", (set) => {
  for (const evidence of realEvidence(set).slice(0, 4))
    assertExplained(compare(randomChanges(SEED, 15 * TIMES, evidence)), evidence.id);
});

/** Recorded cases on which the libraries part, and by which row. */
const PARTED: Readonly<Record<string, string>> = {
  "pceid-mismatch": "pceid",
  "wrong-vendor": "vendor",
  "module1-out-of-date": "module-level",
  "module1-skips-svn01": "tdx-components",
  "qe-auth-empty": "qe-auth-length",
  "pck-crl-expired": "crl-time",
  "pck-crl-wrong-signer": "crl-signature",
  "seam-signer-mismatch": "module-identity",
  "levels-unsorted": "level-order",
  "intermediate-not-ca": "chain-authority",
};

recordedTest("agrees on every recorded quote", (set) => {
  for (const evidence of [...realEvidence(set), ...syntheticEvidence(set)]) {
    const mine = ours(evidence);
    const other = theirs(evidence);
    const row = PARTED[evidence.id];
    if (row === undefined) assert.ok(agree(mine, other), `${evidence.id}: ${JSON.stringify({ mine, other })}`);
    else
      assert.ok(
        !agree(mine, other) && differenceById(row).explains(mine, other),
        `${evidence.id}: ${JSON.stringify({ mine, other })}`,
      );
  }
});
