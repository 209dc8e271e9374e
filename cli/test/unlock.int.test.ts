import assert from "node:assert/strict";
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { lockFile } from "@dstack/files";

const state = await mkdtemp(join(tmpdir(), "dstack-unlock-"));
const locks = join(state, "dstack", "kms", "certs");
await mkdir(locks, { recursive: true });
const path = join(locks, "lock");

function doctor(flags: readonly string[], ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(
    process.execPath,
    [...flags, join(import.meta.dirname, "../src/main.ts"), "doctor", "--unlock", ...args],
    {
      encoding: "utf8",
      env: { ...process.env, XDG_STATE_HOME: state, XDG_CACHE_HOME: join(state, "cache") },
      timeout: 60_000,
    },
  );
}

for (const flags of [[], ["--no-experimental-ffi"]])
  test(`\`dstack doctor --unlock\` frees a dead holder's lock and leaves a living one's (node ${flags.join(" ")})`, async () => {
    await writeFile(path, `${spawnSync("true").pid} 12345\n`);
    assert.equal(doctor(flags).stdout, `freed    ${path}\n`);
    assert.equal(existsSync(path), false);
    const lock = await lockFile(path);
    assert.equal(doctor(flags).stdout, `in use   ${path}\n`);
    const named = doctor(flags, path);
    assert.deepEqual([named.status, named.stdout], [1, ""]);
    assert.match(named.stderr, /held by a process that lives/);
    assert.equal(existsSync(path), true);
    await lock.release();
    assert.equal(doctor(flags, path).status, 4);
  });

test("`dstack doctor --unlock` frees every lock that programs of the local deployment take", async () => {
  const paths = [
    ["stack.lock"],
    ["kms", "certs", "lock"],
    ["gateway", "data", "lock"],
    ["vmm", "vm", ".vmm.lock"],
    ["vmm", "supervisor.sock.lock"],
    ["auth", "auth-config.json.history.jsonl.lock"],
    ["apps", "0123456789abcdef0123456789abcdef.lock"],
    ["apps", "fedcba9876543210fedcba9876543210.lock"],
  ].map((parts) => join(state, "dstack", ...parts));
  paths.push(join(state, "cache", "dstack", "image-build", "build.lock"));
  const dead = `${spawnSync("true").pid} 12345\n`;
  for (const lock of paths) {
    await mkdir(dirname(lock), { recursive: true });
    await writeFile(lock, dead);
  }
  const freed = doctor([]).stdout.trimEnd().split("\n");
  assert.deepEqual(freed.toSorted(), paths.map((lock) => `freed    ${lock}`).toSorted());
  for (const lock of paths) assert.equal(existsSync(lock), false);
});
