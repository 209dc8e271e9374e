import assert from "node:assert/strict";
import fs, { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, truncate, unlink, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { AuditLog, AuditLogError, readLog } from "@dstack/audit-log";
import { createLogger } from "@dstack/log";

const log = createLogger({ name: "test", stream: { write: () => true } });
const SEGMENT_BYTES = 1_000;
let base: string;
let count = 0;
before(async () => {
  base = await mkdtemp(join(tmpdir(), "audit-segments-"));
});
after(() => rm(base, { recursive: true }));

const NAME = "audit.jsonl";
const open = (folder: string): Promise<AuditLog> =>
  AuditLog.open({ path: join(folder, NAME), segmentBytes: SEGMENT_BYTES, clock: { now: () => 0 }, log });
const codeAndText = async (run: Promise<AuditLog>): Promise<string> => {
  try {
    await (await run).close();
  } catch (error) {
    assert.ok(error instanceof AuditLogError, String(error));
    return `${error.code}: ${error.message}`;
  }
  return "opened";
};

async function newFolder(): Promise<string> {
  const folder = join(base, String(count++));
  await mkdir(folder);
  return folder;
}

/** A log of several files with `entries` entries. */
async function logged(entries: number): Promise<string> {
  const folder = await newFolder();
  const audit = await open(folder);
  for (let i = 0; i < entries; i++) await audit.append({ i, text: "x".repeat(100) });
  await audit.close();
  return folder;
}

interface Reading {
  readonly entries: unknown[];
  readonly begin: number;
  readonly seq: number;
  /** File, line and reason where the chain breaks, or `torn`. */
  readonly problem: string | undefined;
}
async function read(folder: string): Promise<Reading> {
  const entries: unknown[] = [];
  let begin = -1;
  let seq = 0;
  let problem: string | undefined;
  for await (const item of readLog(join(folder, NAME))) {
    seq = item.head.seq;
    if (item.kind === "begin") begin = item.head.seq;
    else if (item.kind === "record") {
      if (item.record["i"] !== undefined) entries.push(item.record["i"]);
    } else problem = item.kind === "torn" ? "torn" : `${item.file}, line ${seq + 1}: ${item.reason}`;
  }
  return { entries, begin, seq, problem };
}

test("a file that is full is closed under the number of its first line, and the next carries on its chain", async () => {
  const folder = await logged(20);
  const names = (await readdir(folder)).toSorted();
  assert.deepEqual(names.slice(0, 3), [NAME, `${NAME}.000000000001`, `${NAME}.000000000006`]);
  const { entries, begin, seq, problem } = await read(folder);
  assert.deepEqual([entries, begin, problem], [Array.from({ length: 20 }, (_, i) => i), 0, undefined]);
  assert.equal(seq, 20 + names.length - 1, "each file but the first begins with a line of its own");
  const second = (await readFile(join(folder, `${NAME}.000000000006`), "utf8")).split("\n")[0] ?? "";
  assert.match(second, /"seq":6,.*"action":"audit-segment","outcome":"begun","previous":"audit.jsonl.000000000001"/);
  assert.equal(await codeAndText(open(folder)), "opened");
});

test("a log of one file, as earlier versions wrote it, is the first segment", async () => {
  const folder = await newFolder();
  await cp(join(import.meta.dirname, "one-file.jsonl"), join(folder, NAME));
  const audit = await open(folder);
  assert.deepEqual([audit.head.seq, audit.head.hash.slice(0, 8)], [12, "a2b5966f"]);
  await audit.append({ i: 12 });
  await audit.close();
  const old = await readFile(join(import.meta.dirname, "one-file.jsonl"), "utf8");
  assert.equal(await readFile(join(folder, `${NAME}.000000000001`), "utf8"), old);
  assert.deepEqual([(await read(folder)).seq, (await read(folder)).problem], [14, undefined]);
});

test("a start reads the last file alone: an edit in an earlier one is for `readLog` to find", async () => {
  const folder = await logged(20);
  const first = join(folder, `${NAME}.000000000001`);
  await writeFile(first, (await readFile(first, "utf8")).replace('"i":1', '"i":7'));
  assert.equal(await codeAndText(open(folder)), "opened");
  assert.match((await read(folder)).problem ?? "", /audit\.jsonl\.000000000001, line 3: expected prev/);
});

test("names the segment that is missing, swapped, edited, cut, emptied or misnamed", async () => {
  const at = (folder: string, seq: number): string => join(folder, `${NAME}.${String(seq).padStart(12, "0")}`);
  const swap = async (a: string, b: string): Promise<void> => {
    await rename(a, `${a}.x`);
    await rename(b, a);
    await rename(`${a}.x`, b);
  };
  const cases: Record<string, [spoil: (folder: string) => Promise<unknown>, text: RegExp]> = {
    missing: [
      (folder) => unlink(at(folder, 6)),
      /audit\.jsonl\.000000000011, line 6: lines 6 to 10 are missing: a segment before this one was taken away/,
    ],
    swapped: [
      (folder) => swap(at(folder, 6), at(folder, 11)),
      /\.000000000006, line 6: the segment is named after line 6 and begins with line 11/,
    ],
    edited: [
      async (folder) => writeFile(at(folder, 6), (await readFile(at(folder, 6), "utf8")).replace('"i":6', '"i":5')),
      /\.000000000006, line 9: expected prev/,
    ],
    "edited in its last line": [
      async (folder) => writeFile(at(folder, 6), (await readFile(at(folder, 6), "utf8")).replace('"i":8', '"i":5')),
      /\.000000000011, line 11: expected prev/,
    ],
    cut: [(folder) => truncate(at(folder, 6), 10), /\.000000000006, line 6: the segment ends inside a line/],
    "cut by lines": [
      async (folder) => {
        const lines = (await readFile(at(folder, 6), "utf8")).split("\n");
        await writeFile(at(folder, 6), `${lines.slice(0, 2).join("\n")}\n`);
      },
      /\.000000000011, line 8: lines 8 to 10 are missing/,
    ],
    emptied: [(folder) => truncate(at(folder, 6), 0), /\.000000000006, line 6: the segment is empty/],
    "last one missing": [
      (folder) => unlink(join(folder, NAME)),
      /audit\.jsonl, line \d+: .*the last segment, is missing/,
    ],
    "last one emptied": [(folder) => truncate(join(folder, NAME), 0), /audit\.jsonl, line \d+: the segment is empty/],
  };
  for (const [name, [spoil, text]] of Object.entries(cases)) {
    const folder = await logged(20);
    await spoil(folder);
    assert.match((await read(folder)).problem ?? "whole", text, name);
  }
});

test("refuses to start where the last file is missing or empty, or does not follow on the one before it", async () => {
  const last = (await readdir(await logged(20))).toSorted().at(-1) ?? "";
  const cases: Record<string, [spoil: (folder: string) => Promise<unknown>, text: RegExp]> = {
    missing: [(folder) => unlink(join(folder, NAME)), /^audit-broken: .*the last segment, is missing/],
    emptied: [(folder) => truncate(join(folder, NAME), 0), /^audit-broken: .*has no line, though line \d+ came before/],
    "cut in its first line": [(folder) => truncate(join(folder, NAME), 9), /^audit-broken: .*has no line/],
    "the one before missing": [(folder) => unlink(join(folder, last)), /^audit-broken: .*expected seq/],
    "the one before cut": [
      async (folder) => truncate(join(folder, last), (await readFile(join(folder, last))).length - 1),
      /^audit-broken: .*its last line ends inside a line/,
    ],
    "the one before emptied": [(folder) => truncate(join(folder, last), 0), /^audit-broken: audit log segment/],
    "the one before edited": [
      async (folder) =>
        writeFile(join(folder, last), (await readFile(join(folder, last), "utf8")).replaceAll("xx", "yy")),
      /^audit-broken: .*expected prev/,
    ],
  };
  for (const [name, [spoil, text]] of Object.entries(cases)) {
    const folder = await logged(20);
    await spoil(folder);
    assert.match(await codeAndText(open(folder)), text, name);
  }
});

test("earlier segments may be put away: a start goes on, and a reader is told where the rest begins", async () => {
  const folder = await logged(20);
  for (const name of await readdir(folder)) if (name !== NAME) await unlink(join(folder, name));
  assert.equal(await codeAndText(open(folder)), "opened");
  const { begin, problem } = await read(folder);
  assert.ok(begin > 15 && problem === undefined);
});

test("a file in the place of a closed segment is never written over", async () => {
  const folder = await newFolder();
  const audit = await open(folder);
  for (let i = 0; audit.head.size < SEGMENT_BYTES; i++) await audit.append({ i, text: "x".repeat(100) });
  await writeFile(join(folder, `${NAME}.000000000001`), "evidence");
  await assert.rejects(audit.append({ i: 99 }), AuditLogError);
  assert.match(audit.failure ?? "", /000000000001 is there already/);
  assert.equal(await readFile(join(folder, `${NAME}.000000000001`), "utf8"), "evidence");
  await unlink(join(folder, `${NAME}.000000000001`));
  assert.equal(await audit.probe(), undefined, "it goes on by itself");
  await audit.close();
});

test("who reads while files change sees a whole chain", async () => {
  const folder = await newFolder();
  const audit = await open(folder);
  await audit.append({ i: 0 });
  const written = new AbortController();
  const writing = (async () => {
    for (let i = 1; i <= 100; i++) await audit.append({ i, text: "x".repeat(500) });
    written.abort();
  })();
  let before = 0;
  while (!written.signal.aborted) {
    const { begin, seq, problem } = await read(folder);
    assert.deepEqual([begin, problem === "torn" ? undefined : problem], [0, undefined]);
    assert.ok(seq >= before);
    before = seq;
  }
  await writing;
  await audit.close();
  assert.deepEqual((await read(folder)).entries, [...Array(101).keys()]);
});

test("an older copy in the place of the last file is no shorter log", async () => {
  const folder = await logged(20);
  await cp(join(folder, `${NAME}.000000000001`), join(folder, NAME));
  assert.match((await read(folder)).problem ?? "whole", /audit\.jsonl, line \d+: expected seq/);
  assert.match(await codeAndText(open(folder)), /^audit-broken: .*expected seq/);
});

type Call = (this: unknown, ...parameters: unknown[]) => Promise<unknown>;

/** Has `see` called before each change of the disk; what it throws is that change's error. Writes are seen half done, too. */
async function observeChanges(t: TestContext, see: () => Promise<void>): Promise<void> {
  const module = fs as unknown as Record<string, Call>;
  const handle = await fs.open(process.execPath, "r");
  const methods = Object.getPrototypeOf(handle) as Record<string, Call>;
  await handle.close();
  const patched: [Record<string, Call>, string, Call][] = [];
  const patch = (target: Record<string, Call>, name: string): void => {
    const original = target[name]!;
    patched.push([target, name, original]);
    target[name] = async function (...parameters) {
      if (name === "write") {
        const bytes = parameters[0] as Uint8Array;
        await see();
        await original.call(this, bytes.subarray(0, bytes.length >> 1));
        await see();
        await original.call(this, bytes.subarray(bytes.length >> 1));
        return { bytesWritten: bytes.length };
      }
      await see();
      return original.apply(this, parameters);
    };
  };
  for (const name of ["rename", "unlink", "open"]) patch(module, name);
  for (const name of ["write", "sync", "datasync", "truncate"]) patch(methods, name);
  syncBuiltinESMExports();
  t.after(() => {
    for (const [target, name, original] of patched) target[name] = original;
    syncBuiltinESMExports();
  });
}

test("killed before any change of the disk, nothing acknowledged is lost and the chain holds", async (t) => {
  const folder = await newFolder();
  const moments: { readonly folder: string; readonly told: number }[] = [];
  let told = 0;
  let watching = true;
  await observeChanges(t, async () => {
    if (!watching) return;
    watching = false;
    const moment = await newFolder();
    await cp(folder, moment, { recursive: true });
    moments.push({ folder: moment, told });
    watching = true;
  });
  const audit = await open(folder);
  for (let i = 0; i < 14; i++) {
    await audit.append({ i, text: "x".repeat(100) });
    told++;
  }
  await audit.close();
  watching = false;
  assert.ok(moments.length > 60, `${moments.length} moments`);
  for (const [index, moment] of moments.entries()) {
    if ((await readdir(moment.folder)).length > 0) {
      const { problem } = await read(moment.folder);
      assert.ok(problem === undefined || problem === "torn", `moment ${index}: ${problem}`);
    }
    const again = await open(moment.folder);
    await again.append({ i: "again" });
    await again.close();
    const { entries, begin, problem } = await read(moment.folder);
    assert.deepEqual([begin, problem], [0, undefined], `moment ${index}`);
    assert.deepEqual(
      entries.slice(0, moment.told),
      Array.from({ length: moment.told }, (_, i) => i),
    );
    assert.equal(entries.at(-1), "again");
    assert.ok(!(await readdir(moment.folder)).includes(`${NAME}.next`), `moment ${index}`);
  }
});

test("whatever operation fails, the entry is refused or written, the log works again, and the chain holds", async (t) => {
  let failAt = Number.POSITIVE_INFINITY;
  let operation = 0;
  await observeChanges(t, () =>
    ++operation === failAt
      ? Promise.reject(Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" }))
      : Promise.resolve(),
  );
  for (let at = 1; ; at++) {
    failAt = Number.POSITIVE_INFINITY;
    const folder = await newFolder();
    const audit = await open(folder);
    [operation, failAt] = [0, at];
    const written: number[] = [];
    for (let i = 0; i < 9; i++) {
      try {
        await audit.append({ i, text: "x".repeat(100) });
        written.push(i);
      } catch (error) {
        assert.ok(error instanceof AuditLogError && error.code === "audit-unwritable", String(error));
      }
    }
    failAt = Number.POSITIVE_INFINITY;
    assert.equal(await audit.probe(), undefined, `operation ${at}`);
    await audit.close();
    const { entries, problem } = await read(folder);
    assert.deepEqual([entries, problem], [written, undefined], `operation ${at}`);
    assert.equal(await codeAndText(open(folder)), "opened", `operation ${at}`);
    if (operation < at) {
      assert.ok(at > 30);
      return;
    }
  }
});
