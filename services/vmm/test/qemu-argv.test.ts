import assert from "node:assert/strict";
import { test } from "node:test";
import { vmmConfigSchema } from "../src/config/config-schema.ts";
import { checkVmmConfig } from "../src/config/vmm-config.ts";
import { qemuArgv, type QemuInputs } from "../src/launch/qemu-argv.ts";
import { vectorSets } from "../../../tests/vectors/vector-sets.ts";
import { inputsOf, isOurs, type LaunchCase } from "./qemu-cases.ts";

const LAUNCHES = "vmm/qemu_argv.json";
for (const set of vectorSets(LAUNCHES)) {
  const cases = set.json<{ cases: LaunchCase[] }>(LAUNCHES).cases.filter(isOurs);
  for (const c of cases)
    test(`builds the command line of ${c.name} byte for byte (${set.name})`, () =>
      assert.deepEqual(qemuArgv(inputsOf(c)), c.argv));
  test(`covers the launches of the vectors (${set.name})`, () => assert.ok(cases.length >= 6, String(cases.length)));
}

const defaults = checkVmmConfig(vmmConfigSchema.parse({}), "/tmp").cvm;
const base: QemuInputs = {
  qemuPath: "qemu",
  user: "",
  accelerator: "tcg",
  workDir: "/w",
  vm: { id: "vm-123", vcpu: 2, memoryMb: 2048, ports: [], networks: [defaults.networking], volumes: [] },
  image: {
    kernel: "/i/k",
    initrd: "/i/r",
    rootfs: "/i/rootfs.verity",
    bios: "/i/ovmf.fd",
    cmdline: "a b",
    sharedReadOnly: true,
  },
  channel: { kind: "virtio-serial", socketPath: "/w/channel.sock", portName: "org.dstack.host.0" },
  hostShareMode: "9p",
  qmpSocket: false,
  hotplugOff: false,
  pciHole64Bytes: 0,
  product: defaults.product,
  tee: { kind: "none" },
};

test("under TCG only accelerator and CPU differ", () => {
  const argv = qemuArgv(base);
  assert.deepEqual(argv.slice(1, 5), ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]);
  assert.deepEqual(argv.slice(5), qemuArgv({ ...base, accelerator: "kvm" }).slice(5));
});

test("the serial channel takes the place that the vsock device has, so that all PCI slots stay", () => {
  const devices = (inputs: QemuInputs): string[] =>
    qemuArgv(inputs)
      .filter((word) => /^(virtio-(blk|net|serial)-pci|vhost-vsock-pci|local,)/.test(word))
      .map((word) => word.replace(/^(virtio-serial-pci|vhost-vsock-pci).*/, "channel"));
  assert.deepEqual(devices(base), devices({ ...base, channel: { kind: "vsock", cid: 1000 } }));
  assert.equal(devices(base).indexOf("channel"), 3);
});

test("a comma in a path does not start another option", () => {
  const argv = qemuArgv({ ...base, workDir: "/w,readonly=off" });
  assert.ok(argv.some((word) => word.startsWith("local,path=/w,,readonly=off/shared,mount_tag=")));
});

test("a root file system of an unknown kind is refused by its extension", () => {
  assert.throws(
    () => qemuArgv({ ...base, image: { ...base.image, rootfs: "/i/rootfs.cpio" } }),
    /Unsupported rootfs type: cpio/,
  );
});
