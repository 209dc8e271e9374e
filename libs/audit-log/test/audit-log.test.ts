import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, cp, mkdtemp, open as openFile, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AuditLog, AuditLogError, readLog, type LogItem } from "@dstack/audit-log";
import { createLogger } from "@dstack/log";

const log = createLogger({ name: "test", stream: { write: () => true } });
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-"));
});
after(() => rm(folder, { recursive: true }));

const open = (path: string): Promise<AuditLog> => AuditLog.open({ path, clock: { now: () => 0 }, log });
const lines = async (path: string): Promise<string[]> => (await readFile(path, "utf8")).split("\n").slice(0, -1);
const records = async (path: string): Promise<Record<string, unknown>[]> =>
  (await lines(path)).map((line) => JSON.parse(line) as Record<string, unknown>);
const outcome = async (run: Promise<unknown>): Promise<string> => {
  try {
    await run;
  } catch (error) {
    assert.ok(error instanceof AuditLogError, String(error));
    return `${error.code}: ${error.message}: ${(error.cause as Error | undefined)?.message ?? ""}`;
  }
  return "accepted";
};
async function chainOf(path: string): Promise<LogItem | undefined> {
  let last: LogItem | undefined;
  for await (const item of readLog(path)) last = item;
  return last;
}
async function fileHandleMethods(): Promise<{ datasync(): Promise<void> }> {
  const file = await openFile("/dev/null");
  await file.close();
  return Object.getPrototypeOf(file) as { datasync(): Promise<void> };
}
async function logged(name: string, count: number): Promise<string> {
  const path = join(folder, name);
  const audit = await open(path);
  for (let i = 0; i < count; i++) await audit.append({ i });
  await audit.close();
  return path;
}

test("each line carries the hash of the one before it, across restarts and concurrent writers", async () => {
  const path = join(folder, "chain.jsonl");
  const first = await open(path);
  await Promise.all(Array.from({ length: 20 }, (_, i) => first.append({ i, text: "line\u2028separator\nnewline" })));
  await first.close();
  const second = await open(path);
  await second.append({ i: 20 });
  const { head } = second;
  await second.close();
  let prev = "0".repeat(64);
  const written = await lines(path);
  assert.equal(written.length, 21);
  for (const [index, line] of written.entries()) {
    const entry = JSON.parse(line) as Record<string, unknown>;
    assert.deepEqual([entry["seq"], entry["prev"], entry["i"]], [index + 1, prev, index]);
    prev = createHash("sha256").update(line).digest("hex");
  }
  assert.deepEqual([head.seq, head.hash, head.size], [21, prev, (await readFile(path)).length]);
});

test("entries that come together share a flush and keep their order", async (t) => {
  const path = join(folder, "group.jsonl");
  const datasync = t.mock.method(await fileHandleMethods(), "datasync");
  const audit = await open(path);
  await Promise.all(Array.from({ length: 2_000 }, (_, i) => audit.append({ i })));
  assert.ok(datasync.mock.callCount() <= 3, `${datasync.mock.callCount()} flushes`);
  await audit.close();
  assert.deepEqual(
    (await records(path)).map(({ i }) => i),
    Array.from({ length: 2_000 }, (_, i) => i),
  );
});

test("no entry is settled before the flush that holds it, and none is when that fails", async (t) => {
  const path = join(folder, "flush.jsonl");
  const audit = await open(path);
  await audit.append({ i: 0 });
  const gate = Promise.withResolvers<void>();
  const mock = t.mock.method(await fileHandleMethods(), "datasync", () => gate.promise);
  let settled = 0;
  const pending = [1, 2].map((i) => outcome(audit.append({ i })).finally(() => settled++));
  while ((await lines(path)).length < 3) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(settled, 0, "the bytes are written, and nobody was told so");
  gate.reject(new Error("EIO of a dying disk"));
  for (const text of await Promise.all(pending)) assert.match(text, /audit-unwritable: .*EIO of a dying disk/);
  mock.mock.restore();
  assert.match(audit.failure ?? "", /dying disk/);
  await audit.append({ i: 3 });
  assert.equal(audit.failure, undefined);
  await audit.close();
  assert.deepEqual(
    (await records(path)).map(({ i }) => i),
    [0, 3],
  );
  assert.equal((await chainOf(path))?.kind, "record");
});

test("an entry cannot say what its number, time or predecessor is", async () => {
  const path = join(folder, "own.jsonl");
  const audit = await open(path);
  await audit.append({ seq: 7, prev: "x", time: "never", action: "a" });
  await audit.close();
  assert.deepEqual((await records(path))[0], {
    seq: 1,
    time: "1970-01-01T00:00:00.000Z",
    prev: "0".repeat(64),
    action: "a",
  });
});

test("an entry that is too long or no JSON is refused alone", async () => {
  const path = join(folder, "long.jsonl");
  const audit = await open(path);
  const results = await Promise.all([
    audit.append({ i: 0 }),
    outcome(audit.append({ text: "x".repeat(70_000) })),
    outcome(audit.append({ n: 1n })),
    audit.append({ i: 1 }),
  ]);
  assert.match(results[1] ?? "", /audit-unwritable: .*limit 65536/);
  assert.match(results[2] ?? "", /audit-unwritable: .*BigInt/);
  assert.equal(audit.failure, undefined);
  await audit.close();
  assert.deepEqual(
    (await records(path)).map(({ i }) => i),
    [0, 1],
  );
});

test("more entries than may wait are refused, not kept", async () => {
  const audit = await open(join(folder, "queue.jsonl"));
  const all = await Promise.all(Array.from({ length: 10_005 }, () => outcome(audit.append({}))));
  assert.equal(all.filter((text) => text.startsWith("audit-unwritable: ")).length, 5);
  await audit.close();
});

test("refuses a log in which a line was changed, removed, inserted or swapped, and names the first such line", async () => {
  const path = await logged("whole.jsonl", 4);
  const [a, b, c, d] = (await lines(path)) as [string, string, string, string];
  const cases: Record<string, [changed: string[], line: number]> = {
    changed: [[a, b.replace('"i":1', '"i":9'), c, d], 3],
    removed: [[a, c, d], 2],
    headless: [[b, c, d], 1],
    swapped: [[a, c, b, d], 2],
    doubled: [[a, b, b, c], 3],
    inserted: [[a, "{}", b], 2],
    garbage: [[a, "not json", b], 2],
    array: [[a, "[]"], 2],
    "long line": [[a, `{"x":"${"y".repeat(70_000)}"}`], 2],
  };
  for (const [name, [changed, line]] of Object.entries(cases)) {
    const other = join(folder, `${name}.jsonl`);
    await writeFile(other, changed.map((text) => `${text}\n`).join(""));
    assert.match(await outcome(open(other)), new RegExp(`^audit-broken: audit log .*, line ${line}: `), name);
    const end = await chainOf(other);
    // Who reads all files is told where they begin: earlier ones may have been put away.
    const expected = name === "headless" ? ["record", 4] : ["broken", line - 1];
    assert.deepEqual([end?.kind, end?.head.seq], expected, name);
  }
});

test("a last line that a crash cut short is taken off, and a record says what went", async () => {
  const path = await logged("torn.jsonl", 1);
  const torn = '{"seq":2,"prev":"';
  await appendFile(path, torn);
  assert.equal((await chainOf(path))?.kind, "torn");
  const audit = await open(path);
  await audit.append({ i: 1 });
  await audit.close();
  const written = await records(path);
  assert.deepEqual(
    written.map(({ seq }) => seq),
    [1, 2, 3],
  );
  assert.deepEqual(
    [written[1]?.["action"], written[1]?.["removedBytes"], written[1]?.["removedSha256"]],
    ["audit-repair", torn.length, createHash("sha256").update(torn).digest("hex")],
  );
  assert.equal((await chainOf(path))?.kind, "record");
});

test("a tail longer than any write of ours is no torn line", async () => {
  const path = await logged("tail.jsonl", 1);
  await appendFile(path, Buffer.alloc(2 * 1024 * 1024, "x"));
  assert.match(await outcome(open(path)), /audit-broken.*without an end of line/);
});

test("a file that was cut, replaced, removed or written by somebody else takes no more entries", async () => {
  const cases: Record<string, [spoil: (path: string) => Promise<unknown>, text: RegExp]> = {
    cut: [(path) => truncate(path, 10), /cut from \d+ to 10 bytes/],
    emptied: [(path) => writeFile(path, ""), /cut from \d+ to 0 bytes/],
    replaced: [
      async (path) => {
        await cp(path, `${path}.copy`);
        await rename(`${path}.copy`, path);
      },
      /replaced by another/,
    ],
    removed: [(path) => rm(path), /ENOENT/],
    "written to": [(path) => appendFile(path, '{"seq":2}\n'), /somebody else wrote 10 bytes/],
  };
  for (const [name, [spoil, text]] of Object.entries(cases)) {
    const path = join(folder, `under us ${name}.jsonl`);
    const audit = await open(path);
    await audit.append({ i: 0 });
    await spoil(path);
    for (let i = 0; i < 2; i++) assert.match(await outcome(audit.append({ i: 1 })), text, name);
    assert.match((await audit.probe()) ?? "", text);
    await audit.close();
  }
});

test("a log that was moved away and put back works again, and says that it had failed", async () => {
  const path = join(folder, "moved.jsonl");
  const audit = await open(path);
  await audit.append({ i: 0 });
  await rename(path, `${path}.away`);
  assert.match(await outcome(audit.append({ i: 1 })), /audit-unwritable/);
  assert.notEqual(await audit.probe(), undefined);
  await rename(`${path}.away`, path);
  assert.equal(await audit.probe(), undefined);
  await audit.close();
  const [, resumed] = await records(path);
  assert.deepEqual([resumed?.["action"], /ENOENT/.test(String(resumed?.["reason"]))], ["audit-resume", true]);
});

test("refuses what is no regular file, and folders", async () => {
  assert.match(await outcome(open("/dev/full")), /^audit-broken/);
  assert.match(await outcome(open(folder)), /^audit-unwritable/);
});
