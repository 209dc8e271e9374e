import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ended, type FakeMachine } from "./fake-machine.ts";

/** Kills a bootstrap again and again; the run after them ends well, and none worked beside an orphan. */
export async function killAtAnyMoment(machine: FakeMachine, rounds: number): Promise<void> {
  const script = ["run", join(machine.folder, "script.mjs")];
  for (let round = 0; round < rounds; round++) {
    const child = machine.start(script, { FAKE_PAUSE_MS: "120" });
    const end = ended(child);
    await sleep(randomInt(30, 900));
    // Even rounds kill the bootstrap alone, so that the npm it started goes on; odd ones everything.
    if (child.pid !== undefined && child.exitCode === null) {
      try {
        process.kill(round % 2 === 0 ? child.pid : -child.pid, "SIGKILL");
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ESRCH");
      }
    }
    if (round % 2 === 1) await end;
  }
  const last = await machine.run([...script, "done"]);
  assert.equal(last.stdout, "pinned=1 done\n", last.stderr);
  assert.deepEqual(machine.leftovers(), []);
  assert.equal(machine.calls().filter((call) => call.startsWith("OVERLAP")).length, 0);
}
