import assert from "node:assert/strict";
import { test } from "node:test";
import { networkingSchema, vmmConfigSchema, type Networking, type Product } from "../src/config/config-schema.ts";
import { qemuArgv, type QemuInputs } from "../src/launch/qemu-argv.ts";
import { noVectors, readVector } from "./vectors.ts";

interface Case {
  name: string;
  reference: string;
  platform: string;
  qemu_path: string;
  workdir: string;
  cid: number;
  manifest: {
    id: string;
    vcpu: number;
    memory: number;
    port_map: QemuInputs["vm"]["ports"];
    no_tee?: boolean;
    hugepages?: boolean;
    volumes?: { source: string }[];
  };
  cvm: {
    qgs_port: number | null;
    host_share_mode: "9p" | "vvfat" | "vhd";
    qmp_socket: boolean;
    qemu_hotplug_off: boolean;
    qemu_pci_hole64_size: number;
    user: string;
  };
  product: Product;
  image: {
    dir: string;
    kernel: string;
    initrd: string;
    rootfs: string;
    bios: string | null;
    shared_ro: boolean;
    cmdline: string | null;
  };
  networks: Partial<Networking>[];
  mrconfigid?: string;
  gpus?: unknown;
  swtpm?: boolean;
  argv: string[];
}

// Other machines than this version starts: they are refused before a command line is built.
const isOurs = (c: Case): boolean =>
  c.reference === "0.6.0" &&
  c.platform === "tdx" &&
  c.gpus === undefined &&
  c.swtpm !== true &&
  c.manifest.hugepages !== true &&
  c.name !== "tdx-libvirt-tap";

function inputsOf(c: Case): QemuInputs {
  const at = (file: string): string => `${c.image.dir}/${file}`;
  return {
    qemuPath: c.qemu_path,
    user: c.cvm.user,
    accelerator: "kvm",
    workDir: c.workdir,
    vm: {
      id: c.manifest.id,
      vcpu: c.manifest.vcpu,
      memoryMb: c.manifest.memory,
      ports: c.manifest.port_map,
      networks: c.networks.map((network) => networkingSchema.parse(network)),
      volumes: c.manifest.volumes ?? [],
    },
    image: {
      kernel: at(c.image.kernel),
      initrd: at(c.image.initrd),
      rootfs: at(c.image.rootfs),
      bios: c.image.bios === null ? undefined : at(c.image.bios),
      cmdline: c.image.cmdline ?? undefined,
      sharedReadOnly: c.image.shared_ro,
    },
    channel: { kind: "vsock", cid: c.cid },
    hostShareMode: c.cvm.host_share_mode,
    qmpSocket: c.cvm.qmp_socket,
    hotplugOff: c.cvm.qemu_hotplug_off,
    pciHole64Bytes: c.cvm.qemu_pci_hole64_size,
    product: c.product,
    tee:
      c.manifest.no_tee === true
        ? { kind: "none" }
        : { kind: "tdx", mrConfigId: c.mrconfigid, qgsPort: c.cvm.qgs_port ?? undefined },
  };
}

const cases = noVectors === false ? readVector<{ cases: Case[] }>("qemu_argv.json").cases.filter(isOurs) : [];

for (const c of cases) {
  test(`builds the command line of ${c.name} byte for byte`, () => assert.deepEqual(qemuArgv(inputsOf(c)), c.argv));
}

test("covers eight golden command lines", { skip: noVectors }, () =>
  assert.ok(cases.length === 8, String(cases.length)),
);

const defaults = vmmConfigSchema.parse({}).cvm;
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
