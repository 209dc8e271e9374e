import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { takeBuildLock } from "../src/builder/build-lock.ts";

const root = await mkdtemp(join(tmpdir(), "dstack-lock-"));
after(() => rm(root, { recursive: true, force: true }));

test("a second builder waits for the first and says so", async () => {
  const dir = await mkdtemp(join(root, "l-"));
  const order: string[] = [];
  const first = await takeBuildLock(dir, () => assert.fail("nobody holds it"));
  const second = takeBuildLock(dir, () => order.push("waiting")).then((unlock) => {
    order.push("second");
    return unlock;
  });
  setTimeout(() => {
    order.push("first done");
    void first();
  }, 300);
  await (
    await second
  )();
  assert.deepEqual(order, ["waiting", "first done", "second"]);
});

test("gives up after the deadline with the file to look at", async () => {
  const dir = await mkdtemp(join(root, "l-"));
  const unlock = await takeBuildLock(dir, () => undefined);
  await assert.rejects(
    takeBuildLock(dir, () => undefined, 1000),
    /build\.lock/,
  );
  await unlock();
});

test("a builder that is killed leaves no lock behind", async () => {
  const dir = await mkdtemp(join(root, "l-"));
  const script = `import { takeBuildLock } from ${JSON.stringify(join(import.meta.dirname, "../src/builder/build-lock.ts"))}; await takeBuildLock(${JSON.stringify(dir)}, () => undefined); console.log("held"); setInterval(() => undefined, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => holder.stdout.once("data", resolve));
  holder.kill("SIGKILL");
  const unlock = await takeBuildLock(dir, () => undefined, 5000);
  await unlock();
});
