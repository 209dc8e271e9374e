import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex } from "@dstack/bytes";
import { generateOperatorKey } from "@dstack/key-backup";
import { backupOperators } from "../src/config/backup-operators.ts";
import { KmsError } from "../src/errors.ts";

const keys = [0, 1, 2].map(() => toHex(generateOperatorKey().publicKey));
const [a, b] = keys as [string, string];

test("operators and threshold go together, or there is no backup", () => {
  assert.equal(backupOperators({ operators: [] }), undefined);
  const { threshold, publicKeys } = backupOperators({ operators: keys, threshold: 2 })!;
  assert.deepEqual([threshold, publicKeys.map(toHex)], [2, keys]);
  for (const [operators, count, text] of [
    [[], 2, /names nobody/],
    [[a, b], undefined, /without core.backup.threshold/],
    [[a, b], 3, /3 of 2 operators/],
    [[a, a], 2, /twice/],
    [[a, "ab"], 2, /operators\[1\]/],
    [[a, "00".repeat(32)], 2, /operators\[1\]/],
  ] as const) {
    assert.throws(
      () => backupOperators({ operators: [...operators], threshold: count }),
      (error: unknown) => error instanceof KmsError && error.code === "config-invalid" && text.test(error.message),
      String(text),
    );
  }
});
