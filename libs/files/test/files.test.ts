import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FileLockError, cacheDirectory, lockFile, readIfExists, writeFileAtomic, writeSecret } from "@dstack/files";

const folder = (): Promise<string> => mkdtemp(join(tmpdir(), "dstack-files-"));

test("a secret is readable by its owner alone, whatever the umask (#606)", async () => {
  const path = join(await folder(), "secret");
  await writeSecret(path, "s");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test("a failed write leaves the old content and no temporary file", async () => {
  const dir = await folder();
  const path = join(dir, "state");
  await writeFileAtomic(path, "old");
  await assert.rejects(writeFileAtomic(join(dir, "missing", "state"), "new"));
  await assert.rejects(writeFileAtomic(dir, "new"));
  assert.equal(await readFile(path, "utf8"), "old");
  assert.deepEqual(await readdir(dir), ["state"]);
  assert.equal(await readIfExists(join(dir, "nothing")), undefined);
});

test("a lock is refused while its holder lives and taken over once it is dead", async () => {
  const path = join(await folder(), "lock");
  const lock = await lockFile(path);
  await assert.rejects(lockFile(path), FileLockError);
  await lock.release();
  const dead = spawnSync("true").pid;
  await writeFile(path, `${dead} 12345\n`);
  await (await lockFile(path)).release();
  // A live process id with another start time is somebody else who got the number.
  await writeFile(path, `${process.pid} 1\n`);
  await (await lockFile(path)).release();
});

test("a relative XDG value is ignored as the specification says", () => {
  assert.ok(cacheDirectory({ XDG_CACHE_HOME: "relative" }).endsWith("/.cache/dstack"));
  assert.equal(cacheDirectory({ XDG_CACHE_HOME: "/c" }), "/c/dstack");
});
