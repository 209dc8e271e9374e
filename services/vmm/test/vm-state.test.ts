import assert from "node:assert/strict";
import { test } from "node:test";
import { whileRunning } from "../src/fleet/presence.ts";
import type { SupervisedProcess } from "../src/supervisor/supervisor-client.ts";
import {
  isStarted,
  liveOf,
  markedStarted,
  markedStopped,
  processOf,
  stateFromDisk,
  vmStatus,
  type Live,
  type VmState,
} from "../src/vm/vm.ts";

const process: SupervisedProcess = {
  config: { id: "vm", name: "", command: "qemu", args: [], cid: 3, note: "", pidfile: "" },
  state: { status: "running", started: true, pid: 7, started_at: 1, stopped_at: null },
};
const live: Live = { process, channel: {} as Live["channel"] };
const STATES: Readonly<Record<VmState["kind"], VmState>> = {
  stopped: { kind: "stopped", ended: undefined },
  starting: { kind: "starting" },
  running: { kind: "running", live },
  stopping: { kind: "stopping", live },
  exited: { kind: "exited", ended: process, reason: "crash" },
  broken: { kind: "broken", reason: "cut off", live: undefined },
  removing: { kind: "removing", live },
};
const each = <T>(of: (state: VmState) => T): Record<string, T> =>
  Object.fromEntries(Object.entries(STATES).map(([kind, state]) => [kind, of(state)]));

test("a VM that is to run is starting, running or exited, and no other", () => {
  assert.deepEqual(each(isStarted), {
    stopped: false,
    starting: true,
    running: true,
    stopping: false,
    exited: true,
    broken: false,
    removing: false,
  });
  assert.deepEqual(
    [stateFromDisk({ started: true }).kind, stateFromDisk({ started: false }).kind],
    ["exited", "stopped"],
  );
});

test("each state leads where the drawing says", () => {
  const kinds = (step: (state: VmState) => VmState): Record<string, string> => each((state) => step(state).kind);
  const stay = each(({ kind }) => kind);
  assert.deepEqual(kinds(markedStopped), { ...stay, starting: "stopped", running: "stopping", exited: "stopped" });
  assert.deepEqual(kinds(markedStarted), { ...stay, stopping: "running", stopped: "exited" });
  assert.deepEqual(
    kinds((state) => whileRunning(state, live)),
    { ...stay, starting: "running", exited: "running", stopped: "stopping" },
  );
  for (const state of Object.values(STATES)) assert.equal(liveOf(whileRunning(state, live)), live, state.kind);
});

test("the API knows no starting VM: it does not run yet", () => {
  assert.deepEqual(each(vmStatus), { ...each(({ kind }) => kind), starting: "exited" });
  assert.deepEqual(
    Object.keys(STATES).filter((kind) => processOf(STATES[kind as VmState["kind"]]) !== undefined),
    ["running", "stopping", "exited", "removing"],
  );
});
