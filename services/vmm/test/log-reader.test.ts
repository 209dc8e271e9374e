import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { ansiStripper, HEARTBEAT, readLog, readTail } from "../src/logs/log-reader.ts";
import { markBoot, rotateLog } from "../src/logs/log-rotation.ts";

const file = (content: string): string => {
  const path = join(mkdtempSync(join(tmpdir(), "dstack-log-")), "serial.log");
  writeFileSync(path, content);
  return path;
};

async function whole(path: string, lines: number): Promise<string> {
  let text = "";
  for await (const piece of readLog(path, { lines, follow: false, signal: new AbortController().signal }))
    text += piece;
  return text;
}

test("the tail starts so many lines before the end, whatever the last line ends with", async () => {
  assert.equal(await whole(file("a\nb\nc\n"), 2), "b\nc\n");
  assert.equal(await whole(file("a\nb\nc"), 2), "b\nc");
  assert.equal(await whole(file("a\nb\n"), 10), "a\nb\n");
  assert.equal(await whole(file("a\nb\n"), 0), "");
  assert.equal(await whole(file(""), 5), "");
  const long = Array.from({ length: 30_000 }, (_, i) => `line ${i} ${"x".repeat(20)}`).join("\n");
  assert.equal((await whole(file(`${long}\n`), 20_000)).split("\n").length, 20_001);
});

test("a follower sees what is appended, starts again when the log is cut, and hears a heartbeat", async () => {
  const path = file("old\n");
  const stop = new AbortController();
  let text = "";
  const done = (async () => {
    for await (const piece of readLog(path, {
      lines: 10,
      follow: true,
      signal: stop.signal,
      pollMs: 10,
      heartbeatMs: 60,
    }))
      text += piece;
  })();
  await sleep(40);
  appendFileSync(path, "new\n");
  await sleep(40);
  truncateSync(path, 0);
  await sleep(40);
  appendFileSync(path, "after\n");
  await sleep(150);
  stop.abort();
  await done;
  assert.ok(text.startsWith("old\nnew\n"), text);
  assert.ok(text.includes("after\n"));
  assert.ok(text.includes(HEARTBEAT));
});

test("escape sequences go however the text is cut, and other text stays", () => {
  const source = "\x1b[32mgreen\x1b[0m\r\n\x1b]0;title\x07[  OK  ] Started \x1b[1;33mx\x1b[K\x1b(B\nplain [31m text\n";
  fc.assert(
    fc.property(fc.array(fc.nat(source.length)), (cuts) => {
      const stripper = ansiStripper();
      let text = "";
      let at = 0;
      for (const cut of [...cuts.toSorted((a, b) => a - b), source.length]) {
        text += stripper.next(source.slice(at, cut));
        at = Math.max(at, cut);
      }
      text += stripper.end();
      assert.equal(text, "green\r\n[  OK  ] Started x\nplain [31m text\n");
    }),
  );
});

test("rotation keeps the writer's file, shifts the older ones and drops the oldest (DS #1272)", async () => {
  const path = file("1");
  const limits = { maxBytes: 1, maxBackups: 2 };
  const now = new Date("2026-01-02T03:04:05.678Z");
  await rotateLog(path, limits, now);
  assert.equal(readFileSync(path, "utf8"), "\n===== rotated 1 bytes to serial.log.1 @ 2026-01-02T03:04:05Z =====\n\n");
  assert.equal(readFileSync(`${path}.1`, "utf8"), "1");
  for (const content of ["2", "3"]) {
    writeFileSync(path, content);
    await rotateLog(path, limits, now);
  }
  assert.deepEqual([readFileSync(`${path}.1`, "utf8"), readFileSync(`${path}.2`, "utf8")], ["3", "2"]);
  writeFileSync(path, "gone");
  await rotateLog(path, { maxBytes: 1, maxBackups: 0 }, now);
  assert.match(readFileSync(path, "utf8"), /discarded 4 bytes/);
  await markBoot(path, now);
  assert.match(await readTail(path, 60), /===== boot @ 2026-01-02T03:04:05Z =====\n\n$/);
  await rotateLog(`${path}.missing`, limits, now);
});
