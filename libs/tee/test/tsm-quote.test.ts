import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { reportData } from "@dstack/bytes";
import { tsmQuote } from "@dstack/tee";

const data = reportData(new Uint8Array(64));

/** The kernel's attributes as plain files: `generation` stands still, as where the driver hangs. */
async function hungDriver(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tsm-"));
  for (const [name, text] of [
    ["provider", "tdx_guest\n"],
    ["generation", "7\n"],
    ["inblob", ""],
    ["outblob", ""],
  ] as const)
    await writeFile(join(folder, name), text);
  return folder;
}

test("a quote interface whose generation never steps is waited for until the deadline and no longer (#565)", async () => {
  const folder = await hungDriver();
  try {
    const started = performance.now();
    await assert.rejects(tsmQuote(folder, data, { timeoutMs: 200 }), {
      code: "quote-timeout",
      message: /^quote: none after 200 ms; last: generation went from 7 to 7$/,
    });
    assert.ok(performance.now() - started < 5_000);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a wait for a quote ends with whoever asked for it", async () => {
  const folder = await hungDriver();
  const caller = new AbortController();
  try {
    const asked = assert.rejects(tsmQuote(folder, data, { signal: caller.signal }), { code: "aborted" });
    setTimeout(() => caller.abort(), 50);
    await asked;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
