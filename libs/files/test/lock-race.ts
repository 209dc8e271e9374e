import assert from "node:assert/strict";
import { fork, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Order } from "./lock-contender.ts";

/** Six processes find a dead holder's lock at once, again and again: one gets it, and frees it. */
export async function raceForDeadLock(t: TestContext, rounds: number): Promise<void> {
  const [path, dead] = [await lockPath(), deadHolder()];
  const all = await contenders(t, 6);
  for (let round = 0; round < rounds; round++) {
    await writeFile(path, dead);
    const said = await Promise.all(all.map((child) => tell(child, { take: path })));
    assert.deepEqual(said.toSorted(), [...Array<string>(5).fill("refused"), "won"], `round ${round}`);
    await Promise.all(all.map((child) => tell(child, "free")));
    assert.equal(existsSync(path), false);
  }
}

/** Four processes take and free one lock `turns` times each, as fast as they can, and look for another holder. */
export async function hammerOneLock(t: TestContext, turns: number): Promise<void> {
  const path = await lockPath();
  const all = await contenders(t, 4);
  const said = await Promise.all(all.map((child) => tell(child, { hammer: path, turns })));
  assert.deepEqual(said, Array<string>(4).fill("alone"));
}

export async function contenders(t: TestContext, count: number, execArgv: string[] = []): Promise<ChildProcess[]> {
  const all = Array.from({ length: count }, () => fork(join(import.meta.dirname, "lock-contender.ts"), { execArgv }));
  t.after(() => all.forEach((child) => child.kill("SIGKILL")));
  await Promise.all(all.map((child) => once(child, "message")));
  return all;
}

export async function tell(child: ChildProcess, message: Order): Promise<string> {
  const said = once(child, "message");
  child.send(message);
  return String((await said)[0]);
}

export async function lockPath(): Promise<string> {
  return join(await mkdtemp(join(tmpdir(), "dstack-lock-")), "lock");
}

export const deadHolder = (): string => `${spawnSync("true").pid} 12345\n`;
