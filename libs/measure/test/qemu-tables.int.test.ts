import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { concatBytes, toHex } from "@dstack/bytes";
import { acpiTables } from "../src/acpi/acpi-tables.ts";
import { LOADER_FILE, RSDP_FILE, TABLES_FILE } from "../src/acpi/loader.ts";
import { patchKernelHeader } from "../src/kernel-header.ts";
import { machineOf } from "../src/machine.ts";
import { kernelFixture, vmConfig } from "./fixtures.ts";
import { Qtest, findQemu } from "./qtest.ts";

const qemu = findQemu();
const skip =
  qemu === undefined ? "no QEMU at hand: set DSTACK_QEMU"
  : Number.parseInt(qemu.version, 10) < 10 ? `QEMU ${qemu.version} is older than 10`
  : false;

interface Blobs {
  tables: Uint8Array;
  rsdp: Uint8Array;
  loader: Uint8Array;
}

describe("the tables of the QEMU at hand", { skip }, () => {
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "dstack-measure-"));
    mkdirSync(join(folder, "shared"));
    // QEMU wants some firmware file; nothing is executed.
    writeFileSync(join(folder, "blank.fd"), new Uint8Array(64 * 1024));
    for (const disk of ["rootfs", "hda", "volume"]) {
      writeFileSync(join(folder, disk), "");
      truncateSync(join(folder, disk), 2 ** 20);
    }
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const disk = (id: string, file: string) => [
    "-drive", `file=${join(folder, file)},if=none,id=${id},format=raw,readonly=on`,
    "-device", `virtio-blk-pci,drive=${id}`,
  ];
  const channel = ["-device", "virtio-serial-pci,id=channel0"];
  const nic = (i: number) => ["-netdev", `user,id=net${i}`, "-device", `virtio-net-pci,netdev=net${i},romfile=`];
  const share = () => ["-virtfs", `local,path=${join(folder, "shared")},mount_tag=host-shared,readonly=on,security_model=mapped,id=virtfs0`];

  /** A VM's devices in the order of its command line, as the VMM starts it. */
  const devices = (vsock: readonly string[] = channel, volumes = 0, nics = 1) => [
    ...disk("hd0", "rootfs"),
    ...disk("hd1", "hda"),
    ...Array.from({ length: volumes }, (_, i) => disk(`vol${i}`, "volume")).flat(),
    ...Array.from({ length: nics }, (_, i) => nic(i)).flat(),
    ...vsock,
    ...share(),
  ];

  async function fromQemu(machine: readonly string[], option = ""): Promise<Blobs> {
    const vm = new Qtest(qemu!.program, [
      "-nodefaults",
      "-bios", join(folder, "blank.fd"),
      "-cpu", "max,phys-bits=46",
      // TDX guests have neither SMM nor, by default, a PIC.
      "-machine", `q35,smm=off,pic=off,hpet=off${option}`,
      "-chardev", "null,id=com0", "-serial", "chardev:com0",
      ...machine,
    ]);
    try {
      await asFirmware(vm);
      return { tables: await vm.fwCfgFile(TABLES_FILE), rsdp: await vm.fwCfgFile(RSDP_FILE), loader: await vm.fwCfgFile(LOADER_FILE) };
    } finally {
      await vm.close();
    }
  }

  /** What firmware has set up by the time it reads the tables, as far as they show it. */
  async function asFirmware(vm: Qtest): Promise<void> {
    const configurationSpace = 0xe000_0000;
    await vm.writePciConfig(0, 0, 0x64, 0);
    await vm.writePciConfig(0, 0, 0x60, configurationSpace + 1);
    const powerManagement = 0x600;
    await vm.writePciConfig(0x1f, 0, 0x40, powerManagement + 1);
    await vm.writePciConfig(0x1f, 0, 0x44, 0x80);
    // The first disk's 64-bit window, where firmware puts such windows first.
    await vm.writePciConfig(1, 0, 0x20, 0);
    await vm.writePciConfig(1, 0, 0x24, 0x3800);
    await vm.writePciConfig(1, 0, 0x04, 2);
  }

  function generated(config: Record<string, unknown>): Blobs {
    const { tables, rsdp, loader } = acpiTables(machineOf(vmConfig({ qemu_version: qemu!.version, ...config })));
    return { tables, rsdp, loader };
  }

  function assertSame(actual: Blobs, expected: Blobs): void {
    for (const name of ["tables", "rsdp", "loader"] as const) {
      const at = expected[name].findIndex((byte, i) => byte !== actual[name][i]);
      const around = (bytes: Uint8Array) => Buffer.from(bytes.subarray(Math.max(0, at - 24), at + 24)).toString("hex");
      assert.equal(at, -1, `${name} differ at ${at}: QEMU ${around(actual[name])}, generated ${around(expected[name])}`);
      assert.equal(actual[name].length, expected[name].length, name);
    }
  }

  for (const cpus of [1, 2, 3, 4]) {
    it(`equal the generated ones with ${cpus} vCPU`, async () => {
      assertSame(await fromQemu(["-smp", `${cpus}`, "-m", "2048M", ...devices()]), generated({ cpu_count: cpus }));
    });
  }
  it("equal the generated ones with more than 8 CPUs and memory above 4 GiB", async () => {
    assertSame(
      await fromQemu(["-smp", "12", "-m", "4096M", ...devices()]),
      generated({ cpu_count: 12, memory_size: 4096 * 2 ** 20 }),
    );
  });
  it("equal the generated ones with less than 2 GiB", async () => {
    assertSame(await fromQemu(["-smp", "2", "-m", "1024M", ...devices()]), generated({ memory_size: 2 ** 30 }));
  });
  it("equal the generated ones without PCI hotplug", async () => {
    assertSame(
      await fromQemu(["-smp", "2", "-m", "2048M", "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", ...devices()]),
      generated({ hotplug_off: true }),
    );
  });
  it("equal the generated ones with another 64-bit window", async () => {
    assertSame(
      await fromQemu(["-smp", "2", "-m", "2048M", "-global", "q35-pcihost.pci-hole64-size=0x10000000000", ...devices()]),
      generated({ pci_hole64_size: 2 ** 40 }),
    );
  });
  it("equal the generated ones with volumes and a second NIC", async () => {
    assertSame(
      await fromQemu(["-smp", "2", "-m", "2048M", ...devices(channel, 2, 2)]),
      generated({ num_verity_volumes: 2, num_nics: 2 }),
    );
  });
  it("equal the generated ones with a PIC", async () => {
    assertSame(await fromQemu(["-smp", "2", "-m", "2048M", ...devices()], ",pic=on"), generated({ pic: true }));
  });

  it("equal the generated ones with root ports for a GPU and a switch", async () => {
    // Tables show that something is behind a port, not what.
    const port = (n: number) => ["-device", `pcie-root-port,id=pci.${n},bus=pcie.0,chassis=${n}`, "-device", `virtio-rng-pci,bus=pci.${n}`];
    assertSame(
      await fromQemu(["-smp", "2", "-m", "2048M", "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", ...devices(), ...port(1), ...port(2)]),
      generated({ num_gpus: 1, num_nvswitches: 1, hotplug_off: true }),
    );
  });
  it("equal the generated ones with a NUMA node and an expander for its GPU", async () => {
    const node = [
      "-numa", "node,nodeid=0,cpus=0-1,memdev=mem0",
      "-object", "memory-backend-ram,id=mem0,size=4G",
      "-device", "pxb-pcie,id=pcie.node0,bus=pcie.0,addr=10,numa_node=0,bus_nr=5",
      "-device", "pcie-root-port,id=pci.1,bus=pcie.node0,chassis=1",
    ];
    assertSame(
      await fromQemu(["-smp", "2", "-m", "4096M", ...devices(), ...node]),
      generated({ memory_size: 2 ** 32, hugepages: true, num_gpus: 1 }),
    );
  });

  const setupKey = 0x18;
  const kernelKey = 0x11;
  const setupBytes = 5 * 512;
  for (const [what, memory, fixture] of [
    ["2 GiB", 2 ** 31, {}],
    ["1 GiB", 2 ** 30, {}],
    ["4 GiB", 2 ** 32, {}],
    ["only the flag for loading above 4 GiB", 2 ** 31, { extraLoadFlags: 0x02, initrdMax: 0x1000_0000 }],
    ["every flag but that", 2 ** 31, { extraLoadFlags: 0xfd, initrdMax: 0x1000_0000 }],
    ["protocol 2.3", 2 ** 31, { protocol: 0x203, initrdMax: 0x1000_0000 }],
    ["protocol 2.2", 2 ** 31, { protocol: 0x202 }],
  ] as const) {
    it(`go with a kernel header patched as expected: ${what}`, async () => {
      const kernel = kernelFixture(fixture);
      writeFileSync(join(folder, "bzImage"), kernel);
      writeFileSync(join(folder, "initrd"), new Uint8Array(5000));
      const vm = new Qtest(qemu!.program, [
        "-nodefaults",
        "-bios", join(folder, "blank.fd"),
        "-machine", "q35,smm=off,pic=off,hpet=off",
        "-smp", "1", "-m", `${memory / 2 ** 20}M`,
        "-kernel", join(folder, "bzImage"), "-initrd", join(folder, "initrd"), "-append", "console=ttyS0",
      ]);
      try {
        const seen = concatBytes(
          await vm.fwCfgKey(setupKey, setupBytes),
          await vm.fwCfgKey(kernelKey, kernel.length - setupBytes),
        );
        const expected = patchKernelHeader(kernel, 5000, memory);
        const at = expected.findIndex((byte, i) => byte !== seen[i]);
        assert.equal(at, -1, `byte ${at}: QEMU ${toHex(seen.subarray(at, at + 16))}, patched ${toHex(expected.subarray(at, at + 16))}`);
      } finally {
        await vm.close();
      }
    });
  }

  it("stay the same whichever device takes the slot of vhost-vsock-pci", async () => {
    const machine = ["-smp", "2", "-m", "2048M"];
    // A vhost-vsock device cannot be made where the host kernel lacks it. What tables show of
    // a device is its slot, so another virtio function in that slot stands for it.
    const standIn = ["-device", "virtio-rng-pci"];
    assertSame(await fromQemu([...machine, ...devices(channel)]), await fromQemu([...machine, ...devices(standIn)]));
  });
  it("change when that slot is left empty", async () => {
    const machine = ["-smp", "2", "-m", "2048M"];
    const [with_, without] = [await fromQemu([...machine, ...devices(channel)]), await fromQemu([...machine, ...devices([])])];
    assert.notDeepEqual(with_.tables, without.tables);
  });
});
