import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

// Figures are not judged on a machine that runs other tests: only that there are some.
test("the benchmark of the evidence libraries prints its ratios", { timeout: 5 * 60_000 }, async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ["bench/main.ts", "evidence", "--quick"], {
    cwd: dirname(dirname(import.meta.dirname)),
  });
  for (const title of [
    "cold, of dcap-qvl's rate",
    "cached collateral, of dcap-qvl's rate",
    "cached collateral, of the bare verifications' time",
    "of JSON.parse and the bare hashes together",
  ]) {
    assert.match(stdout, new RegExp(`\\d+\\.\\d\\d x  ${title}`));
  }
});

test("the benchmark of decisions prints what many apps cost", { timeout: 5 * 60_000 }, async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ["bench/main.ts", "auth", "--quick"], {
    cwd: dirname(dirname(import.meta.dirname)),
  });
  assert.match(stdout, /\d+\.\d\d ms {2}1000 apps in the file\n +\d+\.\d\d x {3}of the time with 1 app/);
});
