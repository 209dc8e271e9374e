import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { createLogger } from "@dstack/log";
import { AuditLog } from "../src/audit/audit-log.ts";
import { KmsError } from "../src/errors.ts";

const log = createLogger({ name: "test", stream: { write: () => true } });
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kms-audit-"));
});
after(() => rm(folder, { recursive: true }));

const open = (path: string): Promise<AuditLog> => AuditLog.open({ path, clock: { now: () => 0 }, log });
const lines = async (path: string): Promise<string[]> => (await readFile(path, "utf8")).split("\n").slice(0, -1);
const code = async (run: Promise<unknown>): Promise<string> => {
  try {
    await run;
  } catch (error) {
    assert.ok(error instanceof KmsError, String(error));
    return error.code;
  }
  return "accepted";
};

test("each line carries the hash of the one before it, across restarts and concurrent writers", async () => {
  const path = join(folder, "chain.jsonl");
  const first = await open(path);
  await Promise.all(Array.from({ length: 20 }, (_, i) => first.append({ i, text: "line\u2028separator\nnewline" })));
  await first.close();
  const second = await open(path);
  await second.append({ i: 20 });
  await second.close();
  let prev = "0".repeat(64);
  const written = await lines(path);
  assert.equal(written.length, 21);
  for (const [index, line] of written.entries()) {
    const entry = JSON.parse(line) as Record<string, unknown>;
    assert.deepEqual([entry["seq"], entry["prev"], entry["i"]], [index + 1, prev, index]);
    prev = createHash("sha256").update(line).digest("hex");
  }
});

test("refuses a log in which a line was changed, removed, inserted or swapped", async () => {
  const path = join(folder, "whole.jsonl");
  const whole = await open(path);
  for (let i = 0; i < 4; i++) await whole.append({ i });
  await whole.close();
  const [a, b, c, d] = (await lines(path)) as [string, string, string, string];
  for (const [name, changed] of Object.entries({
    changed: [a, b.replace('"i":1', '"i":9'), c, d], removed: [a, c, d], headless: [b, c, d], swapped: [a, c, b, d], doubled: [a, b, b, c], inserted: [a, "{}", b], garbage: [a, "not json", b],
  })) {
    const other = join(folder, `${name}.jsonl`);
    await writeFile(other, changed.map((line) => `${line}\n`).join(""));
    assert.equal(await code(open(other)), "audit-broken", name);
  }
});

test("takes off a last line that a crash cut short, and goes on", async () => {
  const path = join(folder, "torn.jsonl");
  const first = await open(path);
  await first.append({ i: 0 });
  await first.close();
  await appendFile(path, '{"seq":2,"prev":"');
  const second = await open(path);
  await second.append({ i: 1 });
  await second.close();
  assert.equal((await lines(path)).length, 2);
  await (await open(path)).close();
});

test("refuses what is no regular file", async () => {
  assert.equal(await code(open("/dev/full")), "audit-broken");
  assert.equal(await code(open(folder)), "audit-unwritable");
});

const canMount = process.getuid?.() === 0 && spawnSync("mount", ["--version"]).status === 0;
test("a full disk fails the append, leaves a whole chain, and works again when there is room", { skip: canMount ? false : "needs root to mount a small tmpfs" }, async (t) => {
  const mountPoint = await mkdtemp(join(tmpdir(), "kms-full-"));
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=8k", "tmpfs", mountPoint]).status !== 0) {
    await rm(mountPoint, { recursive: true });
    t.skip("cannot mount a tmpfs here");
    return;
  }
  try {
    const path = join(mountPoint, "audit.jsonl");
    const audit = await open(path);
    await audit.append({ i: 0 });
    await writeFile(join(mountPoint, "ballast"), new Uint8Array(4096));
    let failed = 0;
    for (let i = 0; i < 60; i++) if ((await code(audit.append({ text: "x".repeat(200) }))) === "audit-unwritable") failed++;
    assert.ok(failed > 0);
    assert.match(audit.failure ?? "", /ENOSPC|wrote/);
    await rm(join(mountPoint, "ballast"));
    await audit.append({ i: 1 });
    assert.equal(audit.failure, undefined);
    await audit.close();
    await (await open(path)).close();
  } finally {
    spawnSync("umount", [mountPoint]);
    await rm(mountPoint, { recursive: true });
  }
});
