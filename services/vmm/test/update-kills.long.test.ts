import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import { applyUpdate } from "../src/fleet/update-vm.ts";
import { onFailingDisk } from "./fake/failing-disk.ts";
import { ALL_NEW, ALL_OLD, NOW, oldVm, plan, whatIs } from "./fake/two-versions.ts";

const KILLS = 500;
/** More calls than an update makes, so that some come through. */
const CALLS = 60;

/** One update that is killed at random, and killed at random again while it is finished. @returns at which calls */
async function killedUpdate(vm: Awaited<ReturnType<typeof oldVm>>): Promise<number[]> {
  const killedAt: number[] = [];
  const killed = async (work: () => Promise<unknown>): Promise<boolean> => {
    const at = randomInt(1, CALLS);
    const { error } = await onFailingDisk((call) => (call >= at ? new Error("killed") : undefined), work);
    if (error !== undefined) killedAt.push(at);
    return error !== undefined;
  };
  if (await killed(() => applyUpdate(vm, plan, "qemu-img", NOW))) while (await killed(() => vm.folder.finishChange()));
  return killedAt;
}

test(`an update of a VM's files that is killed, and killed again while it is finished, ${KILLS} times, is whole in the end`, async () => {
  const found = { old: 0, new: 0 };
  for (let kills = 0; kills < KILLS;) {
    const vm = await oldVm();
    const killedAt = await killedUpdate(vm);
    kills += killedAt.length;
    const is = await whatIs(vm.folder);
    const isOld = (is as typeof ALL_OLD).now.compose === ALL_OLD.now.compose;
    found[isOld ? "old" : "new"]++;
    assert.deepEqual(is, isOld ? ALL_OLD : ALL_NEW, `killed at the calls ${killedAt.join(", ")}`);
    assert.deepEqual(
      readdirSync(vm.folder.path).filter((name) => name.startsWith(".update")),
      [],
    );
    rmSync(dirname(vm.folder.path), { recursive: true });
  }
  assert.ok(found.old > 20 && found.new > 20, JSON.stringify(found));
});
