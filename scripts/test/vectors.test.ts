import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { computedVectors, VECTORS } from "../vectors/main.ts";

test("our own vectors are what their script prints (mend: node scripts/vectors/main.ts, and look at what changed)", () => {
  const files = computedVectors();
  assert.ok(files.size > 20);
  for (const [path, bytes] of files)
    assert.ok(Buffer.from(bytes).equals(readFileSync(join(VECTORS, path))), `tests/vectors/${path} is another`);
});
