import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { run } from "@dstack/process";
import { quietLog } from "../../../libs/agent/test/fixture.ts";
import { readLastApp, writeLastApp } from "../src/app/last-app.ts";
import { planStart } from "../src/app/start-plan.ts";

const HASH = "ab".repeat(32);

describe("the record of the version that ran last", () => {
  let folder = "";
  let path = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dstack-last-app-"));
    path = join(folder, "var/lib/dstack/last-app.json");
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("is read as it was written, with a name or without, and replaced as a whole", async () => {
    assert.equal(await readLastApp(path, quietLog), undefined);
    for (const composeHash of [HASH, ""])
      for (const mayLeaveBehind of [true, false]) {
        await writeLastApp(path, { composeHash, mayLeaveBehind });
        assert.deepEqual(await readLastApp(path, quietLog), { composeHash, mayLeaveBehind });
      }
    assert.deepEqual(await readdir(dirname(path)), ["last-app.json"]);
  });

  it("counts for nothing where it is damaged", async () => {
    const good = { version: 1, compose_hash: HASH, may_leave_behind: false };
    await mkdir(dirname(path), { recursive: true });
    for (const text of [
      "",
      "{",
      JSON.stringify(good).slice(0, -4),
      "null",
      "[]",
      JSON.stringify({ ...good, version: 2 }),
      JSON.stringify({ ...good, more: 1 }),
      JSON.stringify({ ...good, compose_hash: HASH.toUpperCase() }),
      JSON.stringify({ ...good, compose_hash: "ab" }),
      JSON.stringify({ ...good, may_leave_behind: "false" }),
      `{"version":1,"version":1,"compose_hash":"${HASH}","may_leave_behind":false}`,
      JSON.stringify(good) + " ".repeat(2_000),
    ]) {
      await writeFile(path, text);
      assert.equal(await readLastApp(path, quietLog), undefined, text);
    }
    await writeFile(path, JSON.stringify(good));
    assert.notEqual(await readLastApp(path, quietLog), undefined);
  });

  it("is no link, no pipe and no folder, and any of them is replaced", async () => {
    await mkdir(dirname(path), { recursive: true });
    const other = join(folder, "other");
    await writeLastApp(other, { composeHash: HASH, mayLeaveBehind: false });
    for (const put of [
      () => symlink(other, path),
      () => run("mkfifo", [path]),
      async () => mkdir(join(path, "folder"), { recursive: true }),
    ]) {
      await put();
      assert.equal(await readLastApp(path, quietLog), undefined);
      await writeLastApp(path, { composeHash: HASH, mayLeaveBehind: true });
      assert.equal((await readLastApp(path, quietLog))?.mayLeaveBehind, true);
      await rm(path);
    }
    assert.equal((await readLastApp(other, quietLog))?.mayLeaveBehind, false, "what the link led to stays as it was");
  });
});

describe("a start", () => {
  const present = { composeHash: HASH, mayLeaveBehind: true };
  const other = { composeHash: "cd".repeat(32), mayLeaveBehind: true };
  const none = { isChange: false, clears: false, refetches: false, revives: false };

  it("of the version that ran last keeps what there is, and revives what such a version may have started", () => {
    assert.deepEqual(planStart(present, present), { ...none, revives: true });
  });

  it("of another version, or after nobody knows which, makes everything anew", () => {
    const anew = { isChange: true, clears: true, refetches: true, revives: false };
    assert.deepEqual(planStart(undefined, present), anew);
    assert.deepEqual(planStart(other, present), anew);
    assert.deepEqual(planStart({ composeHash: "", mayLeaveBehind: true }, present), anew);
    assert.deepEqual(planStart({ ...other, mayLeaveBehind: false }, present), { ...anew, refetches: false });
  });

  it("of a version without powers clears, and revives nothing, whatever the record says", () => {
    assert.deepEqual(planStart(present, { ...present, mayLeaveBehind: false }), { ...none, clears: true });
  });
});
