/** The process is killed, and in turn every operation fails, at each change of the disk (DS #1268, #1309). */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import { toHex } from "@dstack/bytes";
import { generateP256 } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { bootstrap } from "../src/keys/bootstrap.ts";
import { installRootKeys, type RootKeys } from "../src/keys/install-root-keys.ts";
import { COMMITTED, OWN_FILES } from "../src/keys/key-files.ts";
import { openKeyStore, settleKeyFolder, type KeyStore } from "../src/keys/key-store.ts";
import { observeFileOperations } from "./file-operations.ts";

const NOW = 1_764_000_000;
const LAST_YEAR = NOW + 9.5 * 365 * 86_400;
/** More than any run has; a run that reaches it has a loop in it. */
const MOST_OPERATIONS = 400;
const FOREIGN = "foreign.txt";
const log = createLogger({ name: "test", stream: { write: () => true } });
const received: RootKeys = { rootCa: generateP256(), tempCa: generateP256(), rootK256: new Uint8Array(32).fill(42) };
let base: string;
let count = 0;
before(async () => {
  base = await mkdtemp(join(tmpdir(), "kms-crash-"));
  // One file with no more than it uses: a hundred starts of it cost a third of what they cost from the sources.
  await build({
    entryPoints: [join(import.meta.dirname, "key-folder-child.ts")],
    outfile: join(base, "child.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node26",
    logLevel: "silent",
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  });
  await writeFile(
    join(base, "received.json"),
    JSON.stringify({
      rootCa: toHex(received.rootCa.scalar),
      tempCa: toHex(received.tempCa.scalar),
      rootK256: toHex(received.rootK256),
    }),
  );
  // Leaves the compiled code behind, which no killed process does.
  assert.equal(await killedAt(await newFolder(), Number.POSITIVE_INFINITY, NOW, []), false);
});
after(() => rm(base, { recursive: true }));

async function newFolder(from?: string): Promise<string> {
  const path = join(base, String(count++));
  if (from === undefined) await mkdir(path);
  else await cp(from, path, { recursive: true });
  await writeFile(join(path, FOREIGN), "not ours");
  return path;
}

/** Runs one start in a process of its own. @returns whether it was killed before the end */
async function killedAt(folder: string, operation: number, now: number, more: readonly string[]): Promise<boolean> {
  const child = spawn(process.execPath, [join(base, "child.mjs"), folder, String(now), ...more], {
    env: { KILL_AT: String(operation), NODE_COMPILE_CACHE: join(base, "compiled") },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.ok(signal === "SIGKILL" || code === 0, `operation ${operation}: exit ${code}, signal ${signal}`);
  return signal === "SIGKILL";
}

/** Carries out `run` for 1, 2, ... on two processors until it says that nothing was left to kill. @returns how many it killed */
async function forEachOperation(run: (operation: number) => Promise<boolean>): Promise<number> {
  let next = 1;
  let killed = 0;
  const worker = async (): Promise<void> => {
    while (next <= MOST_OPERATIONS && (await run(next++))) killed++;
  };
  await Promise.all([worker(), worker()]);
  assert.ok(killed < MOST_OPERATIONS - 2, "the run never ends");
  return killed;
}

/** Bytes of a root key that somebody may have seen: in place, or in the set that was made valid. */
const visibleRoot = (folder: string, name: string): Promise<Buffer | undefined> =>
  readFile(join(folder, name))
    .catch(() => readFile(join(folder, COMMITTED, name)))
    .catch(() => undefined);

async function assertWhole(folder: string, keys: KeyStore, when: string): Promise<void> {
  assert.deepEqual((await readdir(folder)).toSorted(), [...OWN_FILES, FOREIGN].toSorted(), when);
  assert.equal(await readFile(join(folder, FOREIGN), "utf8"), "not ours", when);
  const again = await openKeyStore({ folder, domain: "", now: NOW });
  assert.deepEqual(
    [again.rootCa.key, again.tempCa.key, again.rootK256],
    [keys.rootCa.key, keys.tempCa.key, keys.rootK256],
    when,
  );
}

/** The start after a crash: either no key of the crashed run was ever visible, or all of them are kept. */
async function restart(folder: string, install: () => Promise<unknown>, when: string): Promise<KeyStore> {
  const seen = [await visibleRoot(folder, "root-ca.key"), await visibleRoot(folder, "root-k256.key")] as const;
  assert.equal(seen[0] === undefined, seen[1] === undefined, `${when}: both roots or none`);
  const state = await settleKeyFolder(folder, log);
  assert.equal(state, seen[0] === undefined ? "empty" : "complete", when);
  if (state === "empty") {
    assert.deepEqual(await readdir(folder), [FOREIGN], `${when}: the old state, without remains`);
    await install();
  }
  const keys = await openKeyStore({ folder, domain: "", now: NOW });
  for (const [index, name] of (["root-ca.key", "root-k256.key"] as const).entries()) {
    if (seen[index] !== undefined)
      assert.deepEqual(await readFile(join(folder, name)), seen[index], `${when}: ${name}`);
  }
  await assertWhole(folder, keys, when);
  return keys;
}

test(
  "killed at any change of the disk, a bootstrap leaves an empty folder or all of its keys",
  { timeout: 600_000 },
  async () => {
    const killed = await forEachOperation(async (operation) => {
      const folder = await newFolder();
      const dead = await killedAt(folder, operation, NOW, []);
      await restart(
        folder,
        () => bootstrap({ folder, domain: "kms.example.com", now: NOW, attest: undefined }),
        `operation ${operation}`,
      );
      return dead;
    });
    assert.ok(killed > 35, `only ${killed} operations were seen`);
  },
);

test(
  "killed at any change of the disk, an onboarding leaves an empty folder or the source's keys",
  { timeout: 600_000 },
  async () => {
    const killed = await forEachOperation(async (operation) => {
      const folder = await newFolder();
      const dead = await killedAt(folder, operation, NOW, [join(base, "received.json")]);
      const keys = await restart(
        folder,
        () => installRootKeys({ folder, roots: received, domain: "kms.example.com", now: NOW }),
        `operation ${operation}`,
      );
      assert.deepEqual(
        [keys.rootCa.key, keys.tempCa.key, keys.rootK256],
        [received.rootCa, received.tempCa, received.rootK256],
      );
      return dead;
    });
    assert.ok(killed > 35, `only ${killed} operations were seen`);
  },
);

test(
  "killed at any change of the disk, a start that renews certificates keeps keys and certificates that fit",
  { timeout: 600_000 },
  async () => {
    const whole = await newFolder();
    await bootstrap({ folder: whole, domain: "kms.example.com", now: NOW, attest: undefined });
    const roots = await openKeyStore({ folder: whole, domain: "", now: NOW });
    const killed = await forEachOperation(async (operation) => {
      const folder = await newFolder(whole);
      const dead = await killedAt(folder, operation, LAST_YEAR, []);
      const keys = await restart(folder, () => assert.fail("keys were there"), `operation ${operation}`);
      assert.deepEqual([keys.rootCa.key, keys.rootK256], [roots.rootCa.key, roots.rootK256]);
      return dead;
    });
    assert.ok(killed > 8, `only ${killed} operations were seen`);
  },
);

test(
  "where any one operation fails, as on a full disk, the same holds, and nothing is made valid before it is flushed",
  { timeout: 600_000 },
  async () => {
    let failAt = 0;
    let seen: string[] = [];
    await observeFileOperations((operation) => {
      seen.push(operation);
      if (seen.length === failAt) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    });
    const run = async (folder: string): Promise<void> => {
      await settleKeyFolder(folder, log);
      await bootstrap({ folder, domain: "kms.example.com", now: NOW, attest: undefined });
    };
    const clean = await newFolder();
    seen = [];
    await run(clean);
    const order = [...seen];
    for (const name of OWN_FILES) {
      const opened = order.findIndex((operation) => operation.startsWith("open ") && operation.endsWith(`/${name}`));
      assert.deepEqual(order.slice(opened + 1, opened + 4), ["write", "write half", "sync"], name);
    }
    const commit = order.findIndex((operation) => operation.startsWith("rename ") && !operation.endsWith("rpc-domain"));
    assert.deepEqual(
      [order[commit - 1], order[commit + 1]],
      ["sync", "sync"],
      "the set is flushed before it is valid, and its name before it is used",
    );
    const firstUnlink = order.findIndex((operation) => operation.startsWith("unlink "));
    assert.equal(order[firstUnlink - 1], "sync", "files are flushed in place before they leave the set");
    assert.deepEqual(
      order
        .filter((operation) => operation.startsWith("link "))
        .slice(-2)
        .map((operation) => operation.split("/").at(-1)),
      ["root-ca.key", "root-k256.key"],
      "roots last",
    );

    for (let operation = 1; operation <= order.length; operation++) {
      const folder = await newFolder();
      [failAt, seen] = [operation, []];
      await assert.rejects(run(folder), /no space left/, order[operation - 1]);
      failAt = 0;
      await restart(
        folder,
        () => bootstrap({ folder, domain: "kms.example.com", now: NOW, attest: undefined }),
        `failure at ${order[operation - 1]}`,
      );
    }
  },
);
