import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { TARGETS } from "./targets/index.ts";

const COUNT = 100_000;
/** Another one each time: a release is looked at with inputs that no run before it had. */
const SEED = randomInt(1, 1e9);
const LIMIT_MS = 10 * 60_000;

// Each in a process of its own: what another target left of memory would be laid at its door.
for (const { name } of TARGETS.values()) {
  test(`${name}: ${COUNT} mangled inputs crash nothing, take no time and keep no memory`, async (t) => {
    const args = [name, String(COUNT), "--seed", String(SEED)];
    const child = execFile(process.execPath, ["--", join(import.meta.dirname, "main.ts"), ...args], {
      timeout: LIMIT_MS,
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text: string) => (output += text));
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 0, `npm run fuzz -- ${args.join(" ")}\n${output}`);
    t.diagnostic(`${args.join(" ")}: ${output.trim()}`);
  });
}
