import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SystemCallError, systemCalls } from "@dstack/system-calls";

const index = new URL("../src/index.ts", import.meta.url).href;

test("an exclusive lock is held against every other open file, and free when its descriptor is closed", () => {
  const calls = systemCalls();
  assert.equal(calls.kind, "here");
  const path = join(mkdtempSync(join(tmpdir(), "dstack-flock-")), "lock");
  const [first, second] = [openSync(path, "w"), openSync(path, "w")];
  assert.equal(calls.flock(first), "taken");
  assert.equal(calls.flock(first), "taken", "the same open file has it already");
  assert.equal(calls.flock(second), "held");
  closeSync(first);
  assert.equal(calls.flock(second), "taken");
  closeSync(second);
  assert.throws(
    () => calls.flock(99_999),
    (error) => error instanceof SystemCallError && error.facts["errno"] === "EBADF",
  );
});

for (const [flags, reason] of [
  [["--no-experimental-ffi"], /node:ffi is not there.*--no-experimental-ffi/],
  [["--permission", "--allow-fs-read=*"], /node:ffi cannot be used.*permission/i],
] as const)
  test(`with ${flags[0]} the calls are absent, and it is said why`, () => {
    const code = `import { systemCalls } from ${JSON.stringify(index)}; console.log(JSON.stringify(systemCalls()))`;
    const child = spawnSync(process.execPath, [...flags, "--input-type=module", "-e", code], { encoding: "utf8" });
    const calls = JSON.parse(child.stdout) as { kind: string; reason: string };
    assert.equal(calls.kind, "absent");
    assert.match(calls.reason, reason);
  });

test("the probe prints no warning", () => {
  const code = `import { systemCalls } from ${JSON.stringify(index)}; systemCalls()`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
  assert.deepEqual([child.status, child.stderr], [0, ""]);
});
