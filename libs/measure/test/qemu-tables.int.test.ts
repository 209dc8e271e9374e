import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { concatBytes, toHex } from "@dstack/bytes";
import { acpiTables } from "../src/acpi/acpi-tables.ts";
import { LOADER_FILE, RSDP_FILE, TABLES_FILE } from "../src/acpi/loader.ts";
import { patchedKernelHead } from "../src/kernel-header.ts";
import { machineOf } from "../src/machine.ts";
import { kernelFixture, vmConfig } from "./fixtures.ts";
import { amdWithMuchMemory, qemuCases } from "./qemu-cases.ts";
import type { QemuCase } from "./qemu-cases.ts";
import { digests, readRecord, recordFile } from "./qemu-record.ts";
import { Qtest, findQemu } from "./qtest.ts";

const qemu = findQemu();
const skip =
  qemu === undefined
    ? "no QEMU at hand: set DSTACK_QEMU"
    : Number.parseInt(qemu.version, 10) < 10
      ? `QEMU ${qemu.version} is older than 10`
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

  async function fromQemu(
    machine: readonly string[],
    setUp: (vm: Qtest) => Promise<void> = asFirmware,
  ): Promise<Blobs> {
    const vm = new Qtest(qemu!.program, [
      "-nodefaults",
      "-bios",
      join(folder, "blank.fd"),
      "-chardev",
      "null,id=com0",
      "-serial",
      "chardev:com0",
      ...machine,
    ]);
    try {
      await setUp(vm);
      return {
        tables: await vm.fwCfgFile(TABLES_FILE),
        rsdp: await vm.fwCfgFile(RSDP_FILE),
        loader: await vm.fwCfgFile(LOADER_FILE),
      };
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

  function generated({ config, hardware }: QemuCase): Blobs {
    const { tables, rsdp, loader } = acpiTables(
      machineOf(vmConfig({ ...config, qemu_version: qemu!.version }), hardware),
    );
    return { tables, rsdp, loader };
  }

  function assertSame(actual: Blobs, expected: Blobs): void {
    for (const name of ["tables", "rsdp", "loader"] as const) {
      const at = expected[name].findIndex((byte, i) => byte !== actual[name][i]);
      const around = (bytes: Uint8Array) => Buffer.from(bytes.subarray(Math.max(0, at - 24), at + 24)).toString("hex");
      assert.equal(
        at,
        -1,
        `${name} differ at ${at}: QEMU ${around(actual[name])}, generated ${around(expected[name])}`,
      );
      assert.equal(actual[name].length, expected[name].length, name);
    }
  }

  const recorded: Record<string, readonly string[]> = {};
  for (const machine of qemuCases) {
    it(`equal the generated ones: ${machine.name}`, async () => {
      const blobs = await fromQemu(machine.args(folder));
      assertSame(blobs, generated(machine));
      recorded[machine.name] = digests(blobs);
    });
  }
  it("are those that were recorded, where that was of this version", (t) => {
    if (process.env["DSTACK_RECORD_TABLES"] === "1" && Object.keys(recorded).length === qemuCases.length)
      writeFileSync(recordFile, `${JSON.stringify({ qemu_version: qemu!.version, sha384: recorded }, null, 1)}\n`);
    const { qemu_version: version, sha384: kept } = readRecord();
    assert.equal(Object.keys(recorded).length, qemuCases.length);
    // Those of another version are compared with the generated ones, above; the record says nothing of them.
    if (version !== qemu!.version) {
      t.diagnostic(`recorded with QEMU ${version}, this is ${qemu!.version}`);
      return;
    }
    for (const [name, blobs] of Object.entries(recorded)) assert.deepEqual(blobs, kept[name], name);
  });
  it("place memory elsewhere for an AMD CPU, which no TDX guest has", async () => {
    const [real, own] = [await fromQemu(amdWithMuchMemory.args(folder)), generated(amdWithMuchMemory)];
    const differing = [...own.tables.entries()].filter(([i, byte]) => byte !== real.tables[i]);
    assert.ok(differing.length > 0 && differing.length <= 8, `${differing.length} bytes`);
    assert.deepEqual([real.rsdp, real.loader], [own.rsdp, own.loader]);
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
        "-bios",
        join(folder, "blank.fd"),
        "-machine",
        "q35,smm=off,pic=off,hpet=off",
        "-smp",
        "1",
        "-m",
        `${memory / 2 ** 20}M`,
        "-kernel",
        join(folder, "bzImage"),
        "-initrd",
        join(folder, "initrd"),
        "-append",
        "console=ttyS0",
      ]);
      try {
        const seen = concatBytes(
          await vm.fwCfgKey(setupKey, setupBytes),
          await vm.fwCfgKey(kernelKey, kernel.length - setupBytes),
        );
        const head = patchedKernelHead(kernel, 5000, memory);
        const expected = concatBytes(head, kernel.subarray(head.length));
        const at = expected.findIndex((byte, i) => byte !== seen[i]);
        assert.equal(
          at,
          -1,
          `byte ${at}: QEMU ${toHex(seen.subarray(at, at + 16))}, patched ${toHex(expected.subarray(at, at + 16))}`,
        );
      } finally {
        await vm.close();
      }
    });
  }

  it("stay the same whichever device takes the slot of vhost-vsock-pci", async () => {
    const args = qemuCases[1]!.args(folder);
    // That device cannot be made where the host kernel lacks it. What tables show of a device is
    // its slot, so another virtio function in that slot stands for it.
    const standIn = args.map((arg) => (arg.startsWith("virtio-serial-pci") ? "virtio-rng-pci" : arg));
    assert.notDeepEqual(standIn, args);
    assertSame(await fromQemu(standIn), await fromQemu(args));
  });
  it("change when that slot is left empty", async () => {
    const args = qemuCases[1]!.args(folder);
    const at = args.findIndex((arg) => arg.startsWith("virtio-serial-pci"));
    const without = await fromQemu(args.toSpliced(at - 1, 2));
    assert.notDeepEqual(without.tables, (await fromQemu(args)).tables);
  });
});
