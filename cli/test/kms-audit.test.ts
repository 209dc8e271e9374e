import assert from "node:assert/strict";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { AuditLog } from "@dstack/audit-log";
import { createLogger } from "@dstack/log";
import { createCli } from "../src/clients/cli.ts";
import { kmsAuditShow } from "../src/kms/audit-show.ts";
import { kmsAuditVerify } from "../src/kms/audit-verify.ts";
import type { KmsAuditShowOptions } from "../src/kms/options.ts";
import { CliError } from "../src/terminal/errors.ts";
import { captured } from "./captured.ts";

const APP = "5bb4".repeat(10);
let folder: string;
let path: string;
const times: number[] = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "cli-audit-"));
  path = join(folder, "audit.jsonl");
  const clock = { now: () => Date.UTC(2026, 0, 1) + times.push(0) * 60_000 };
  const audit = await AuditLog.open({
    path,
    clock,
    log: createLogger({ name: "test", stream: { write: () => true } }),
  });
  await audit.append({ action: "app-key", outcome: "released", appId: APP, instanceId: "1d".repeat(20) });
  await audit.append({
    action: "app-key",
    outcome: "refused",
    appId: "a1".repeat(20),
    instanceId: "2d".repeat(20),
    reason: "Boot denied: \u001b[31mno",
    rule: "apps",
    field: "composeHash",
  });
  await audit.append({ action: "sign-cert", outcome: "released", appId: APP, instanceId: "2d".repeat(20) });
  await audit.close();
});
after(() => rm(folder, { recursive: true }));

const cli = createCli({});
const verify = (file = path, head?: string, after?: string) =>
  captured(() =>
    kmsAuditVerify(cli, file, {
      output: "json",
      ...(head === undefined ? {} : { head }),
      ...(after === undefined ? {} : { after }),
    }),
  );
const show = async (options: Partial<KmsAuditShowOptions>): Promise<number[]> => {
  const { text } = await captured(() => kmsAuditShow(cli, path, { last: "100", output: "json", ...options }));
  return (JSON.parse(text) as { seq: number }[]).map(({ seq }) => seq);
};

test("verify says how many lines hold and what the last hash is; 3 and the line where one does not", async () => {
  const { code, text } = await verify();
  const whole = JSON.parse(text) as Record<string, unknown>;
  assert.deepEqual(
    [code, whole["ok"], whole["lines"], whole["first"], whole["last"]],
    [0, true, 3, "2026-01-01T00:01:00.000Z", "2026-01-01T00:03:00.000Z"],
  );
  const changed = join(folder, "changed.jsonl");
  await writeFile(changed, (await readFile(path, "utf8")).replace('"released"', '"refused" '));
  const broken = await verify(changed);
  const result = JSON.parse(broken.text) as Record<string, unknown>;
  assert.deepEqual([broken.code, result["ok"], result["broken_line"]], [3, false, 2]);
  assert.match(String(result["reason"]), /line 2: expected prev/);
});

test("verify finds a head that was noted earlier, and misses it in a log whose end was taken off", async () => {
  const { hash } = JSON.parse((await verify()).text) as { readonly hash: string };
  assert.equal((await verify(path, hash)).code, 0);
  const cut = join(folder, "cut.jsonl");
  await writeFile(cut, `${(await readFile(path, "utf8")).split("\n").slice(0, 2).join("\n")}\n`);
  assert.equal((await verify(cut)).code, 0);
  assert.equal((await verify(cut, hash)).code, 3);
  await assert.rejects(verify(path, "abc"), (error: unknown) => error instanceof CliError && error.exitCode === 2);
});

test("verify follows all segments, names the file of a breach, and takes earlier ones as checked by their last hash", async () => {
  const inSegments = join(folder, "segments", "audit.jsonl");
  await mkdir(dirname(inSegments));
  const audit = await AuditLog.open({
    path: inSegments,
    segmentBytes: 600,
    clock: { now: () => 0 },
    log: createLogger({ name: "test", stream: { write: () => true } }),
  });
  const heads: string[] = [];
  for (let i = 0; i < 12; i++) {
    await audit.append({ action: "app-key", outcome: "refused", appId: APP, i });
    heads.push(audit.head.hash);
  }
  await audit.close();
  const files = (await readdir(dirname(inSegments))).toSorted();
  const result = async (head?: string, after?: string) => {
    const { code, text } = await verify(inSegments, head, after);
    return { code, ...(JSON.parse(text) as { lines: number; segments: number; hash: string; reason: string }) };
  };
  const whole = await result(heads[2]);
  assert.deepEqual([whole.code, whole.segments], [0, files.length]);
  assert.equal(whole.lines, 12 + files.length - 1);
  assert.deepEqual((await captured(() => kmsAuditShow(cli, inSegments, { last: "100", output: "json" }))).code, 0);

  const earlier = `${inSegments}.000000000001`;
  const closed = await verify(earlier);
  const { hash: lastOfEarlier } = JSON.parse(closed.text) as { readonly hash: string };
  await rename(earlier, join(folder, "put-away.jsonl"));
  const without = await result();
  assert.equal(without.code, 3);
  assert.match(without.reason, /earlier segments are missing/);
  assert.equal((await result(undefined, lastOfEarlier)).code, 0);
  assert.equal((await result(lastOfEarlier, lastOfEarlier)).code, 0);
  assert.equal((await result(undefined, whole.hash)).code, 3);
  await rename(join(folder, "put-away.jsonl"), earlier);
  assert.equal((await result(undefined, lastOfEarlier)).code, 3, "nothing came before line 1");

  const [, , second = ""] = files;
  await rm(join(dirname(inSegments), second));
  const missing = await result();
  assert.equal(missing.code, 3);
  assert.match(missing.reason, /audit\.jsonl\.\d{12}, line \d+: lines \d+ to \d+ are missing/);
});

test("a record that is just being written is no breach", async () => {
  const torn = join(folder, "torn.jsonl");
  await writeFile(torn, await readFile(path));
  await appendFile(torn, '{"seq":4');
  const { code, text } = await verify(torn);
  assert.deepEqual([code, (JSON.parse(text) as { torn_bytes: number }).torn_bytes], [0, 8]);
});

test("show filters by app, instance, result and time, and keeps the newest", async () => {
  assert.deepEqual(await show({}), [1, 2, 3]);
  assert.deepEqual(await show({ app: "0x5BB4" }), [1, 3]);
  assert.deepEqual(await show({ instance: "2d" }), [2, 3]);
  assert.deepEqual(await show({ result: "refused" }), [2]);
  assert.deepEqual(await show({ since: "2026-01-01T00:02:00Z" }), [2, 3]);
  assert.deepEqual(await show({ until: "2026-01-01T00:02:00Z" }), [1, 2]);
  assert.deepEqual(await show({ last: "2" }), [2, 3]);
  assert.deepEqual(await show({ last: "1" }), [3]);
  for (const options of [{ since: "yesterday" }, { until: "12" }, { last: "0" }, { last: "x" }])
    await assert.rejects(show(options), (error: unknown) => error instanceof CliError && error.exitCode === 2);
});

test("show is a table for people, in which a reason cannot move the cursor", async () => {
  const { code, text } = await captured(() => kmsAuditShow(cli, path, { last: "100", output: "text" }));
  assert.equal(code, 0);
  assert.match(text, /^SEQ +TIME +ACTION +RESULT +APP/);
  assert.match(
    text,
    /2 +2026-01-01T00:02:00.000Z +app-key +refused +(a1){20} +(2d){20} +apps +composeHash +Boot denied: \\x1b\[31mno/,
  );
});

test("show ends with 3 where the chain breaks", async () => {
  const changed = join(folder, "changed-too.jsonl");
  await writeFile(changed, (await readFile(path, "utf8")).replace('"sign-cert"', '"sign-cart"'));
  await appendFile(changed, "{}\n");
  assert.equal((await captured(() => kmsAuditShow(cli, changed, { last: "100", output: "json" }))).code, 3);
});

test("a file that is not there is not found", async () => {
  await assert.rejects(
    verify(join(folder, "nothing")),
    (error: unknown) => error instanceof CliError && error.exitCode === 4,
  );
});
