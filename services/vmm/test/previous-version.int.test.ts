import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { utf8 } from "@dstack/bytes";
import { applyUpdate, NO_UPDATE } from "../src/fleet/update-vm.ts";
import { parseManifest } from "../src/vm/manifest.ts";
import { onFailingDisk } from "./fake/failing-disk.ts";
import { fakeSupervisor, newVmRequest, startFleet } from "./fake/fleet.ts";
import { ALL_NEW, ALL_OLD, NOW, OLD, oldVm, plan, text, whatIs } from "./fake/two-versions.ts";
import { composeFile, makeHost } from "./vmm-process.ts";

describe("an update that replaces a version", () => {
  test("killed at any call that changes the disk, leaves the old VM whole or the new one with the old kept", async () => {
    const found = { old: 0, new: 0 };
    for (let killedAt = 1; ; killedAt++) {
      const vm = await oldVm();
      // Dead from that call on: what would clean up does not run either.
      const dead = (call: number): Error | undefined => (call >= killedAt ? new Error("killed") : undefined);
      const { error } = await onFailingDisk(dead, () => applyUpdate(vm, plan, "qemu-img", NOW));
      await vm.folder.finishChange();
      const is = await whatIs(vm.folder);
      const isOld = (is as typeof ALL_OLD).now.compose === OLD.compose;
      assert.deepEqual(is, isOld ? ALL_OLD : ALL_NEW, `killed at call ${killedAt}`);
      assert.deepEqual(
        readdirSync(vm.folder.path).filter((name) => name.startsWith(".update")),
        [],
      );
      found[isOld ? "old" : "new"]++;
      if (error === undefined) break;
      assert.equal(found.new > 0 && isOld, false, "the old one after the new one was there");
    }
    assert.ok(found.old > 10 && found.new > 5, JSON.stringify(found));
  });

  test("killed again while it is finished, is finished by the next one", async () => {
    for (let killedAt = 1; ; killedAt++) {
      const vm = await oldVm();
      await onFailingDisk(
        (_call, name) =>
          name === "rename" && readdirSync(vm.folder.path).includes(".update") ? new Error("killed") : undefined,
        () => applyUpdate(vm, plan, "qemu-img", NOW),
      );
      const { error } = await onFailingDisk(
        (call) => (call >= killedAt ? new Error("killed") : undefined),
        () => vm.folder.finishChange(),
      );
      await vm.folder.finishChange();
      assert.deepEqual(await whatIs(vm.folder), ALL_NEW, `killed at call ${killedAt}`);
      if (error === undefined) break;
    }
  });

  test("on a disk that is full at any write, changes nothing and leaves nothing", async () => {
    for (let fullAt = 1; ; fullAt++) {
      const vm = await oldVm();
      let writes = 0;
      const full = (_call: number, name: string): Error | undefined =>
        name === "write" && ++writes === fullAt ? Object.assign(new Error("full"), { code: "ENOSPC" }) : undefined;
      const before = readdirSync(vm.folder.path);
      const { error } = await onFailingDisk(full, () => applyUpdate(vm, plan, "qemu-img", NOW));
      if (error === undefined) break;
      assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      assert.deepEqual([vm.manifest.memory, vm.state.kind], [OLD.memory, "stopped"]);
      assert.deepEqual(readdirSync(vm.folder.path), before);
      assert.deepEqual(await whatIs(vm.folder), ALL_OLD);
    }
  });

  test("that cannot be put in place once it is written makes the VM broken, and a reload finishes it", async () => {
    const vm = await oldVm();
    const { error } = await onFailingDisk(
      (_call, name) =>
        name === "rename" && readdirSync(vm.folder.path).includes(".update") ? new Error("EIO") : undefined,
      () => applyUpdate(vm, plan, "qemu-img", NOW),
    );
    assert.ok(error instanceof Error && vm.state.kind === "broken");
    assert.match(vm.state.reason, /half in place: EIO; reload the VMs to finish it/);
    await vm.folder.finishChange();
    assert.deepEqual(await whatIs(vm.folder), ALL_NEW);
  });
});

describe("the previous version of a VM", () => {
  const second = composeFile({ name: "second" });
  const fleetWithVm = async (over: Parameters<typeof newVmRequest>[0] = {}) => {
    const { dir } = makeHost();
    const fleet = startFleet(dir, fakeSupervisor());
    const id = await fleet.create(newVmRequest({ stopped: true, ...over }));
    const vm = fleet.get(id);
    const is = async () => ({
      compose: text(await vm.folder.readCompose()),
      env: text((await vm.folder.readVersion(vm.manifest))?.encryptedEnv),
      memory: vm.manifest.memory,
      ports: vm.manifest.port_map.map(({ from }) => from),
    });
    return { dir, fleet, id, vm, is };
  };

  test("comes back with its files, its shape and without the secrets that it did not have; a second rollback undoes the first", async () => {
    const { fleet, id, vm, is } = await fleetWithVm();
    const first = await is();
    await fleet.update({ ...NO_UPDATE, id, composeFile: second, encryptedEnv: utf8("sealed"), memory: 2048 });
    const updated = await is();
    assert.deepEqual(updated, { compose: second, env: "sealed", memory: 2048, ports: [] });
    assert.equal(text((await vm.folder.readPreviousVersion())?.compose), first.compose);
    await fleet.rollback(id);
    assert.deepEqual(await is(), first);
    assert.equal(first.env, undefined);
    await fleet.rollback(id);
    assert.deepEqual(await is(), updated);
    fleet.close();
  });

  test("is kept when app or secrets change, and by no other update", async () => {
    const { fleet, id, vm } = await fleetWithVm({ encryptedEnv: utf8("one") });
    await fleet.update({ ...NO_UPDATE, id, memory: 2048 });
    await fleet.update({ ...NO_UPDATE, id, composeFile: composeFile(), encryptedEnv: utf8("one") });
    assert.equal(await vm.folder.readPreviousVersion(), undefined);
    await assert.rejects(fleet.rollback(id), { code: "no-version" });
    await fleet.update({ ...NO_UPDATE, id, encryptedEnv: utf8("two") });
    assert.equal(text((await vm.folder.readPreviousVersion())?.encryptedEnv), "one");
    await fleet.update({ ...NO_UPDATE, id, memory: 1024 });
    assert.equal(text((await vm.folder.readPreviousVersion())?.encryptedEnv), "one");
    await fleet.update({ ...NO_UPDATE, id, composeFile: second });
    assert.equal(text((await vm.folder.readPreviousVersion())?.encryptedEnv), "two");
    fleet.close();
  });

  test("goes back by the rules of an update: no resize of a running VM, no broken VM", async () => {
    const { fleet, id, vm } = await fleetWithVm();
    await fleet.update({ ...NO_UPDATE, id, composeFile: second, memory: 2048 });
    await fleet.start(id);
    await assert.rejects(fleet.rollback(id), { code: "conflict" });
    await fleet.stop(id);
    vm.state = { kind: "broken", reason: "cut off", live: undefined };
    await assert.rejects(fleet.rollback(id), { code: "vm-broken" });
    fleet.close();
  });

  test("is readable by us alone and lies outside what the guest sees", async () => {
    const { fleet, id, vm } = await fleetWithVm();
    await fleet.update({ ...NO_UPDATE, id, composeFile: second });
    assert.equal(statSync(vm.folder.file.previousVersion).mode & 0o777, 0o600);
    assert.equal(readdirSync(vm.folder.shared).includes("previous-version.json"), false);
    writeFileSync(vm.folder.file.previousVersion, "{");
    await assert.rejects(vm.folder.readPreviousVersion(), /previous-version\.json is damaged/);
    fleet.close();
  });
});

test("a work directory made before versions were kept opens unchanged", async () => {
  const { dir } = makeHost();
  const folder = join(dir, "vm/3f2504e0-4f89-41d3-9a0c-0305e82c3301");
  mkdirSync(join(folder, "shared"), { recursive: true });
  const files: Record<string, string> = {
    "vm-manifest.json": JSON.stringify({
      id: "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
      name: "old",
      app_id: "11".repeat(20),
      vcpu: 1,
      memory: 1024,
      disk_size: 1,
      image: "dstack-0.6.0",
      port_map: [],
      created_at_ms: 1,
      no_tee: true,
    }),
    "vm-state.json": '{"started":false}',
    "shared/app-compose.json": composeFile(),
    "shared/.encrypted-env": "sealed",
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  const fleet = startFleet(dir, fakeSupervisor());
  assert.deepEqual(await fleet.load(), { loaded: 1, updated: 0, removed: 0 });
  const [vm] = fleet.all();
  assert.deepEqual(vm?.state, { kind: "stopped", ended: undefined });
  assert.equal(await vm?.folder.readPreviousVersion(), undefined);
  const now = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.deepEqual(
    Object.fromEntries(
      now.map(({ parentPath, name }) => {
        const path = join(parentPath, name);
        return [path.slice(folder.length + 1), readFileSync(path, "utf8")];
      }),
    ),
    files,
  );
  fleet.close();
});

test("members of a manifest that we do not know survive an update and a rollback", async () => {
  const { dir } = makeHost();
  const first = startFleet(dir, fakeSupervisor());
  const id = await first.create(newVmRequest({ stopped: true, networks: [{ mode: "user" }] }));
  first.close();
  const path = join(dir, "vm", id, "vm-manifest.json");
  const manifest = JSON.parse(readFileSync(path, "utf8")) as { networks: object[] };
  const unknown = { ...manifest, swap_size: 7, networks: [{ ...manifest.networks[0], forward_service_enabled: true }] };
  writeFileSync(path, JSON.stringify(unknown));
  const second = startFleet(dir, fakeSupervisor());
  await second.load();
  const kept = (): unknown => {
    const { swap_size, networks } = JSON.parse(readFileSync(path, "utf8")) as typeof unknown;
    return [swap_size, networks[0]?.forward_service_enabled];
  };
  await second.update({ ...NO_UPDATE, id, composeFile: composeFile({ name: "second" }), memory: 2048 });
  assert.deepEqual(kept(), [7, true]);
  await second.rollback(id);
  assert.deepEqual(kept(), [7, true]);
  await second.update({ ...NO_UPDATE, id, updateNetworking: true, networks: [] });
  const cleared = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  assert.deepEqual([cleared["networks"], cleared["networking"], cleared["swap_size"]], [undefined, undefined, 7]);
  assert.equal(parseManifest(readFileSync(path, "utf8")).networks.length, 0);
  second.close();
});
