import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { NO_UPDATE } from "../src/fleet/update-vm.ts";
import { fakeSupervisor, newVmRequest, startFleet } from "./fake/fleet.ts";
import { makeHost, until } from "./vmm-process.ts";

const kept = (dir: string, id: string): unknown =>
  JSON.parse(readFileSync(join(dir, "vm", id, "vm-state.json"), "utf8"));

test("a list that was asked for before a start says nothing about the VM that started since", async () => {
  const { dir } = makeHost();
  const supervisor = fakeSupervisor();
  const fleet = startFleet(dir, supervisor);
  const id = await fleet.create(newVmRequest({ stopped: true }));
  const answer = Promise.withResolvers<void>();
  supervisor.listAnswers = answer.promise;
  const refreshed = fleet.refresh();
  await fleet.start(id);
  answer.resolve();
  await refreshed;
  assert.equal(fleet.get(id).state.kind, "running");
  assert.deepEqual(fleet.get(id).events, []);
  fleet.close();
});

test("a VM that was stopped while its restart was due stays stopped", async () => {
  const { dir } = makeHost();
  const supervisor = fakeSupervisor();
  const fleet = startFleet(dir, supervisor);
  const id = await fleet.create(newVmRequest());
  const running = supervisor.processes.get(id);
  assert.ok(running !== undefined);
  supervisor.processes.set(id, { ...running, state: { ...running.state, status: { exited: 256 } } });
  await fleet.refresh();
  const exited = fleet.get(id).state;
  assert.ok(exited.kind === "exited");
  assert.match(exited.reason, /ended with code 1/);
  await Promise.all([fleet.stop(id), fleet.restart(id)]);
  assert.equal(fleet.get(id).state.kind, "stopped");
  assert.deepEqual(kept(dir, id), { started: false });
  fleet.close();
});

test("a start that fails leaves the VM as it stood, and says why where it was to run", async () => {
  const { dir } = makeHost();
  const supervisor = fakeSupervisor();
  const fleet = startFleet(dir, supervisor);
  const id = await fleet.create(newVmRequest({ stopped: true }));
  supervisor.deploy = () => Promise.reject(new Error("no more processes"));
  await assert.rejects(fleet.start(id), /failed to start process/);
  assert.equal(fleet.get(id).state.kind, "stopped");
  assert.deepEqual(kept(dir, id), { started: false });
  fleet.get(id).state = { kind: "exited", ended: undefined, reason: "crash" };
  await assert.rejects(fleet.restart(id));
  const state = fleet.get(id).state;
  assert.ok(state.kind === "exited");
  assert.match(state.reason, /no more processes/);
  assert.equal(fleet.get(id).bootProgress, "");
  fleet.close();
});

test("a removal that takes long holds up neither creates nor reloads", async () => {
  const { dir } = makeHost();
  const supervisor = fakeSupervisor();
  const fleet = startFleet(dir, supervisor);
  const [slow, other] = [await fleet.create(newVmRequest()), await fleet.create(newVmRequest({ stopped: true }))];
  supervisor.stops = false;
  await fleet.remove(slow);
  await fleet.remove(slow);
  assert.equal(fleet.get(slow).state.kind, "removing");
  await assert.rejects(fleet.update({ ...NO_UPDATE, id: slow, memory: 2048 }), /being removed/);
  await assert.rejects(fleet.start(slow), /being removed/);
  await fleet.update({ ...NO_UPDATE, id: other, memory: 2048 });
  await fleet.create(newVmRequest({ stopped: true }));
  assert.deepEqual(await fleet.load(), { loaded: 0, updated: 3, removed: 0 });
  supervisor.stops = true;
  await until("removal", () => (fleet.find(slow) === undefined ? true : undefined));
  assert.equal(existsSync(join(dir, "vm", slow)), false);
  fleet.close();
});

test("a running VM whose folder vanished is stopped and forgotten", async () => {
  const { dir } = makeHost();
  const supervisor = fakeSupervisor();
  const fleet = startFleet(dir, supervisor);
  const id = await fleet.create(newVmRequest());
  rmSync(join(dir, "vm", id), { recursive: true });
  assert.deepEqual(await fleet.load(), { loaded: 0, updated: 0, removed: 1 });
  await until("removal", () => (fleet.find(id) === undefined ? true : undefined));
  assert.equal(supervisor.processes.size, 0);
  fleet.close();
});

test("what a kill leaves of a removal or of a create is deleted and never taken for a VM", async () => {
  const { dir } = makeHost();
  const first = startFleet(dir, fakeSupervisor());
  const [removed, marked] = [
    await first.create(newVmRequest({ stopped: true })),
    await first.create(newVmRequest({ stopped: true })),
  ];
  first.close();
  renameSync(join(dir, "vm", removed), join(dir, `vm/.gone-${removed}`));
  mkdirSync(join(dir, "vm/.new-x"));
  mkdirSync(join(dir, "vm", marked, ".removing"));
  const second = startFleet(dir, fakeSupervisor());
  await second.load();
  await until("removal", () => (second.all().length === 0 ? true : undefined));
  assert.deepEqual(readdirSync(join(dir, "vm")), []);
  second.close();
});
