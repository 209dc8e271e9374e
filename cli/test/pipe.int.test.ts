import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";

const MAIN = join(import.meta.dirname, "../src/main.ts");

test("ends without a word, as SIGPIPE would end it, when nobody reads its output any more", async () => {
  const child = spawn(process.execPath, ["--", MAIN, "auth", "kms:add-image"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  const [code] = (await once(child, "close")) as [number];
  assert.equal(stderr, "");
  assert.equal(code, 141);
});
