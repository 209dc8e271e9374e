/** A process that serves goes on, whatever nobody handled and whoever stopped reading its log. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";

const PROGRAM = `
import { createLogger, outliveStrays } from "@dstack/log";
const log = createLogger({ name: "t" });
if (process.argv[1] !== "bare") outliveStrays(log);
process.stdin.on("data", (order) => {
  const text = String(order).trim();
  if (text === "reject") void Promise.reject(new Error("stray"));
  if (text === "throw") setTimeout(() => { throw new Error("thrown"); });
  if (text === "long") void Promise.reject(new Error("hostile \\u202e" + "x".repeat(100_000)));
  if (text === "log") log.info("a line");
  if (text === "end") process.exit(0);
  setTimeout(() => process.stdout.write("done\\n"), 20);
});
process.stdout.write("done\\n");
`;

async function start(mode: string) {
  const child = spawn(process.execPath, ["--input-type=module", "-e", PROGRAM, mode], { cwd: import.meta.dirname });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await once(child.stdout, "data");
  return {
    child,
    said: () => said,
    order: async (text: string) => {
      child.stdin.write(`${text}\n`);
      await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
    },
    end: async () => {
      if (child.exitCode === null) {
        child.stdin.write("end\n");
        await once(child, "exit");
      }
      return child.exitCode;
    },
  };
}

test("a failure that nobody handled is logged, and the process goes on (DS #1232)", async () => {
  const served = await start("served");
  await served.order("reject");
  await served.order("throw");
  await served.order("long");
  assert.equal(await served.end(), 0);
  assert.match(served.said(), /"event":"unhandledRejection","error":"Error: stray[^\n]*a failure that nobody handled/);
  assert.match(served.said(), /"event":"uncaughtException","error":"Error: thrown[^\n]*a failure that nobody handled/);
  assert.match(
    served.said(),
    /hostile \\\\u\{202e\}x{200,256}\\n {4}at /,
    "a stranger's text is bounded, where it was thrown is told",
  );
  const bare = await start("bare");
  await bare.order("reject");
  assert.equal(await bare.end(), 1, "without it, it ends");
});

test("a process whose log nobody reads any more goes on", async () => {
  const served = await start("bare");
  await served.order("log");
  assert.match(served.said(), /a line/);
  served.child.stderr.destroy();
  for (let i = 0; i < 5; i++) await served.order("log");
  assert.equal(await served.end(), 0);
});
