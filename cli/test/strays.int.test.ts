import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { DEPLOYMENT_VARIABLE, findStrays, stopStrays } from "../src/stack/strays.ts";

const state = await mkdtemp(join(tmpdir(), "dstack-strays-"));
const children: ChildProcess[] = [];
after(async () => {
  for (const child of children) child.kill("SIGKILL");
  await rm(state, { recursive: true });
});

async function sleeper(env: Record<string, string>, ...args: string[]): Promise<ChildProcess> {
  const child = spawn("/bin/sh", ["-c", "sleep 60 & wait", ...args], { env, stdio: "ignore" });
  children.push(child);
  await once(child, "spawn");
  return child;
}

test("ends what carries the deployment's mark, with what that started, and nothing that only names its folder", async () => {
  const own = await sleeper({ [DEPLOYMENT_VARIABLE]: state });
  const others = [
    await sleeper({}, `${state}/vmm/vmm.toml`, "services/vmm/src/main.ts", "qemu-system-x86_64"),
    await sleeper({ [DEPLOYMENT_VARIABLE]: `${state}-2` }),
    await sleeper({ NOTE: `${DEPLOYMENT_VARIABLE}=${state}` }),
  ];
  const deadline = Date.now() + 5_000;
  while ((await findStrays(state)).length < 2 && Date.now() < deadline)
    await new Promise((done) => setTimeout(done, 20));
  const found = await findStrays(state);
  assert.ok(found.some(({ pid }) => pid === own.pid));
  assert.equal(found.length, 2, "the shell, and the sleep that it started");
  const gone = once(own, "exit");
  assert.equal((await stopStrays(state)).length >= 1, true);
  await gone;
  assert.deepEqual(await findStrays(state), []);
  for (const other of others) assert.equal(other.exitCode ?? other.signalCode, null);
});
