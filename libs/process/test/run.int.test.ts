import assert from "node:assert/strict";
import { test } from "node:test";
import { ProcessError, run } from "@dstack/process";

test("gives the output of a program and feeds its input", async () => {
  assert.deepEqual(await run("cat", [], { input: "hello" }), { code: 0, stdout: "hello", stderr: "" });
});

test("a failing program is an error with its last words", async () => {
  await assert.rejects(
    run("sh", ["-c", "echo why >&2; exit 3"]),
    (error: unknown) => error instanceof ProcessError && error.exitCode === 3 && error.message.includes("why"),
  );
  assert.equal((await run("sh", ["-c", "exit 3"], { okCodes: [3] })).code, 3);
});

test("a program past its deadline is killed together with its children", async () => {
  const started = Date.now();
  await assert.rejects(
    run("sh", ["-c", "sleep 30 & wait"], { timeoutMs: 200 }),
    (error: unknown) => error instanceof ProcessError && error.code === "timed-out",
  );
  assert.ok(Date.now() - started < 5_000);
});

test("a program that is not there is named", async () => {
  await assert.rejects(run("dstack-no-such-program", []), /not installed or not on PATH/);
});
