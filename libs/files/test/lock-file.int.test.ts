import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { test } from "node:test";
import { FileLockError, freeDeadLock, holderOf, lockFile } from "@dstack/files";
import { contenders, deadHolder, hammerOneLock, lockPath, raceForDeadLock, tell } from "./lock-race.ts";

const WITHOUT_FFI = ["--no-experimental-ffi"];

test("of many processes that find a dead holder's lock at once, exactly one gets it, 200 times (#952)", (t) =>
  raceForDeadLock(t, 200));

test("processes that take and free one lock as fast as they can never hold it together", (t) => hammerOneLock(t, 300));

test("a killed holder's lock is free at once, though its child goes on", async (t) => {
  const path = await lockPath();
  const [holder] = await contenders(t, 1);
  assert.ok(holder !== undefined);
  assert.equal(await tell(holder, { take: path }), "won");
  const child = Number(await tell(holder, "spawn"));
  t.after(() => process.kill(child, "SIGKILL"));
  await assert.rejects(
    lockFile(path),
    (error) => error instanceof FileLockError && error.code === "locked" && error.facts["pid"] === holder.pid,
  );
  holder.kill("SIGKILL");
  await once(holder, "exit");
  await (await lockFile(path)).release();
});

test("a lock file of the version before excludes while the process that it names lives", async (t) => {
  const path = await lockPath();
  const [old] = await contenders(t, 1);
  assert.ok(old?.pid !== undefined);
  const stat = await readFile(`/proc/${old.pid}/stat`, "utf8");
  const line = `${old.pid} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}\n`;
  await writeFile(path, line);
  await assert.rejects(lockFile(path), (error) => error instanceof FileLockError && error.facts["pid"] === old.pid);
  assert.equal(await freeDeadLock(path), "alive");
  assert.equal(await readFile(path, "utf8"), line, "it stays as it was");
  old.kill("SIGKILL");
  await once(old, "exit");
  const lock = await lockFile(path);
  assert.equal(
    (await readFile(path, "utf8")).split(" ")[0],
    String(process.pid),
    "the version before reads who has it",
  );
  await lock.release();
});

test("without node:ffi exactly one of many takes a free lock, and a dead holder's is refused until it is unlocked", async (t) => {
  const path = await lockPath();
  const all = await contenders(t, 4, WITHOUT_FFI);
  for (let round = 0; round < 50; round++) {
    const said = await Promise.all(all.map((child) => tell(child, { take: path })));
    assert.deepEqual(said.toSorted(), ["refused", "refused", "refused", "won"], `round ${round}`);
    // One with node:ffi is refused by one without.
    await assert.rejects(lockFile(path), FileLockError);
    await Promise.all(all.map((child) => tell(child, "free")));
  }
  const [killed, other] = all;
  assert.ok(killed !== undefined && other !== undefined);
  assert.equal(await tell(killed, { take: path }), "won");
  killed.kill("SIGKILL");
  await once(killed, "exit");
  assert.equal(await tell(other, { take: path }), "refused");
  assert.equal(await freeDeadLock(path), "freed");
  assert.equal(await tell(other, { take: path }), "won");
});

test("without node:ffi the lock of a living holder with it is refused", async (t) => {
  const path = await lockPath();
  const lock = await lockFile(path);
  const [without] = await contenders(t, 1, WITHOUT_FFI);
  assert.ok(without !== undefined);
  assert.equal(await tell(without, { take: path }), "refused");
  await lock.release();
  assert.equal(await tell(without, { take: path }), "won");
});

test("without node:ffi the refusal of a dead holder's lock says how to free it", async () => {
  const path = await lockPath();
  await writeFile(path, deadHolder());
  const code = `import { lockFile } from "@dstack/files"; await lockFile(${JSON.stringify(path)}).catch((error) => console.log(error.message))`;
  const child = spawnSync(process.execPath, [...WITHOUT_FFI, "--input-type=module", "-e", code], {
    encoding: "utf8",
    cwd: import.meta.dirname,
  });
  assert.match(child.stdout, /left behind by process \d+, .*dstack doctor --unlock \S+lock/);
});

test("without node:ffi whoever frees a dead holder's lock never removes the one that somebody took meanwhile", async (t) => {
  const [path, dead] = [await lockPath(), deadHolder()];
  const [taker, ...unlockers] = await contenders(t, 4, WITHOUT_FFI);
  assert.ok(taker !== undefined);
  for (let round = 0; round < 300; round++) {
    await writeFile(path, dead);
    await Promise.all([
      tell(taker, { takeWhenFree: path }),
      ...unlockers.map((child) => tell(child, { unlock: path })),
    ]);
    assert.equal((await readFile(path, "utf8")).split(" ")[0], String(taker.pid), `round ${round}`);
    await tell(taker, "free");
  }
  assert.deepEqual(await readdir(dirname(path)), [], "nothing stays beside it");
});

test("without node:ffi an empty lock file is somebody's who is about to lock it, for a moment", async (t) => {
  const path = await lockPath();
  const [without] = await contenders(t, 1, WITHOUT_FFI);
  assert.ok(without !== undefined);
  await writeFile(path, "");
  assert.equal(await tell(without, { unlock: path }), "alive");
  const longAgo = new Date(Date.now() - 60_000);
  await utimes(path, longAgo, longAgo);
  assert.equal(await tell(without, { unlock: path }), "freed");
});

test("who holds a lock is told by process id and start time", async () => {
  const path = await lockPath();
  assert.equal(holderOf(path), undefined);
  const lock = await lockFile(path);
  const { pid, startTime, alive } = holderOf(path) ?? {};
  assert.deepEqual([pid, alive], [process.pid, true]);
  assert.match(startTime ?? "", /^\d+$/);
  await lock.release();
  await writeFile(path, deadHolder());
  assert.equal(holderOf(path)?.alive, false);
});
