import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { AuditLog, AuditLogError, readLog } from "@dstack/audit-log";
import { createLogger } from "@dstack/log";

const log = createLogger({ name: "test", stream: { write: () => true } });
const open = (path: string): Promise<AuditLog> => AuditLog.open({ path, clock: { now: () => 0 }, log });
const isUnwritable = (error: unknown): boolean => error instanceof AuditLogError && error.code === "audit-unwritable";

/** Runs on a small disk of its own, where this machine lets one be mounted. */
async function onTmpfs(t: TestContext, run: (mountPoint: string) => Promise<void>): Promise<void> {
  const mountPoint = await mkdtemp(join(tmpdir(), "audit-full-"));
  try {
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=8k", "tmpfs", mountPoint]).status !== 0)
      return t.skip("cannot mount a tmpfs here");
    await run(mountPoint);
  } finally {
    spawnSync("umount", [mountPoint]);
    await rm(mountPoint, { recursive: true });
  }
}

test("a full disk fails the append, leaves a whole chain, and works again when there is room", (t) =>
  onTmpfs(t, async (mountPoint) => {
    const path = join(mountPoint, "audit.jsonl");
    const audit = await open(path);
    await audit.append({ i: 0 });
    await writeFile(join(mountPoint, "ballast"), new Uint8Array(4096));
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, (_, i) => audit.append({ i, text: "x".repeat(200) })),
    );
    for (const result of results) assert.ok(result.status === "rejected" && isUnwritable(result.reason));
    assert.match(audit.failure ?? "", /ENOSPC|wrote/);
    await rm(join(mountPoint, "ballast"));
    await audit.append({ i: 1 });
    assert.equal(audit.failure, undefined);
    await audit.close();
    await (await open(path)).close();
    assert.equal((await readFile(path, "utf8")).trimEnd().split("\n").length, 2);
  }));

test("a disk that is full when a segment is full refuses, tears nothing, and goes on in a new segment when there is room", (t) =>
  onTmpfs(t, async (mountPoint) => {
    const path = join(mountPoint, "audit.jsonl");
    const audit = await AuditLog.open({ path, segmentBytes: 2_000, clock: { now: () => 0 }, log });
    let written = 0;
    while (audit.head.size < 2_000) await audit.append({ i: written++ });
    await writeFile(join(mountPoint, "ballast"), new Uint8Array(4096));
    for (let i = 0; i < 3; i++) await assert.rejects(audit.append({ i: "full" }), isUnwritable);
    assert.match(audit.failure ?? "", /ENOSPC|wrote/);
    assert.match((await audit.probe()) ?? "", /ENOSPC|wrote/);
    await rm(join(mountPoint, "ballast"));
    await audit.append({ i: written++ });
    await audit.close();
    const entries: unknown[] = [];
    for await (const item of readLog(path)) {
      assert.ok(item.kind === "record" || item.kind === "begin");
      if (item.kind === "record" && "i" in item.record) entries.push(item.record["i"]);
    }
    assert.deepEqual(entries, [...Array(written).keys()]);
    assert.deepEqual((await readdir(mountPoint)).toSorted(), ["audit.jsonl", "audit.jsonl.000000000001"]);
  }));

test("a disk that turns read-only fails the append, and the next start", (t) =>
  onTmpfs(t, async (mountPoint) => {
    const path = join(mountPoint, "audit.jsonl");
    const audit = await open(path);
    await audit.append({ i: 0 });
    await audit.close();
    assert.equal(spawnSync("mount", ["-o", "remount,ro", mountPoint]).status, 0);
    await assert.rejects(open(path), isUnwritable);
  }));

test("what was acknowledged before a kill is in the log, and the chain holds", { timeout: 600_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "audit-kill-"));
  const path = join(folder, "audit.jsonl");
  const script = `import { AuditLog } from "@dstack/audit-log"; import { createLogger } from "@dstack/log";
    const audit = await AuditLog.open({ path: ${JSON.stringify(path)}, clock: Date, log: createLogger({ name: "x", stream: { write: () => true } }) });
    const worker = async (w) => { for (let i = 0; ; i++) { await audit.append({ id: process.pid + "/" + w + "/" + i }); process.stdout.write(process.pid + "/" + w + "/" + i + "\\n"); } };
    await Promise.all([0, 1, 2, 3].map(worker));`;
  try {
    for (let round = 0; round < 4; round++) {
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
        cwd: import.meta.dirname,
        stdio: ["ignore", "pipe", "inherit"],
      });
      let told = "";
      child.stdout.on("data", (chunk: Buffer) => {
        told += chunk.toString();
        if (told.length > 4_000 * (round + 1)) child.kill("SIGKILL");
      });
      await once(child, "close");
      const audit = await open(path);
      await audit.close();
      const written = await readFile(path, "utf8");
      for (const id of told.split("\n").slice(0, -1)) assert.ok(written.includes(`"${id}"`), id);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
