import { test } from "node:test";
import { FakeMachine, SHOW_PINNED } from "./fake-machine.ts";
import { killAtAnyMoment } from "./kill-bootstrap.ts";

test("the bootstrap survives kills at any moment, of twenty new machines", { timeout: 10 * 60_000 }, async () => {
  for (let count = 0; count < 20; count++) {
    const machine = new FakeMachine();
    try {
      machine.remember("script.mjs", SHOW_PINNED);
      await killAtAnyMoment(machine, 12);
    } finally {
      machine.destroy();
    }
  }
});
