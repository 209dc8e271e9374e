import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex } from "@dstack/bytes";
import { acpiTables } from "../src/acpi/acpi-tables.ts";
import { MeasureError } from "../src/errors.ts";
import { machineOf } from "../src/machine.ts";
import { sha256 } from "../src/sha.ts";
import { parseVmConfig } from "../src/vm-config.ts";
import { vmConfig } from "./fixtures.ts";
import { qemuCases } from "./qemu-cases.ts";
import { digests, readRecord } from "./qemu-record.ts";

const machine = (keys: Record<string, unknown>) => machineOf(parseVmConfig(JSON.stringify(keys)));

const base = { qemu_version: "11.1.0", cpu_count: 1, memory_size: 2 ** 31, num_nics: 1 };

describe("ACPI tables of the specification's list", () => {
  const golden: [what: string, change: Record<string, unknown>, sha256: string][] = [
    [
      "QEMU 8.2",
      { qemu_version: "8.2.0", pic: false },
      "ff0c03c7f4026a95b0b2f2e08cef7d501a3a44b4df036c9f26de91828f0215f6",
    ],
    ["QEMU 9.1", { qemu_version: "9.1.0" }, "ff0c03c7f4026a95b0b2f2e08cef7d501a3a44b4df036c9f26de91828f0215f6"],
    ["QEMU 9.2", { qemu_version: "9.2.1" }, "b183eba66c6e96556f28cefe60ca92620b82488fcefaf66167aad61e2b2e73d1"],
    ["QEMU 11.0", { qemu_version: "11.0.0" }, "e211dd453e651ef320d28c65d23f578e96468614614e7b1172f18df5052d0f1f"],
    ["2 CPUs", { cpu_count: 2 }, "1362c6f473801b34f93df4e2966b2d3350f7f9113750da78a2cb799177157da8"],
    ["64 CPUs", { cpu_count: 64 }, "089fda95fb5d45ba9a5f46ebc99d85e1331daa4dd38f60597eec9a3d95c94bb5"],
    ["4 volumes", { num_verity_volumes: 4 }, "7d722d7e3d811aa7978030af1d2a6c6aa68a5ab9267d7dff4e57babdf1476870"],
    [
      "a GPU without hotplug",
      { num_gpus: 1, hotplug_off: true },
      "0948490885eb9a777d553c7c0c529e3647533f4251b394f2f7f0a9862dadb4ca",
    ],
    [
      "hugepages, 2 CPUs, a GPU and 2816 MiB",
      { cpu_count: 2, hugepages: true, num_gpus: 1, memory_size: 2816 * 2 ** 20 },
      "3bf181108245994ceb7e983b1fa62009dcd56f7b49fd1e96ef15eb07d04aefc9",
    ],
    ["4096 CPUs", { cpu_count: 4096 }, "6a4bbd704addd10996632d6535432598c742789e60b29d055a7784be927588a5"],
    ["no NIC", { num_nics: 0 }, "93a140bbc031dc313ed4011b838c8b22ffdecb474435d9fcb294be97194c953c"],
    [
      "a GPU and 4 switches without hotplug",
      { num_gpus: 1, num_nvswitches: 4, hotplug_off: true },
      "323e607f82db7a002bd6a71e7a6ac1ed746e94e3daba75dde2958751861c1a57",
    ],
    [
      "a real host with QEMU 8.2.2",
      { qemu_version: "8.2.2", cpu_count: 8, memory_size: 64 * 2 ** 30 },
      "4f93bdb24629c032fc5caa6f1648d3be447683aa878e6f73ac4fef2edbe588fa",
    ],
    [
      "a real host with QEMU 9.2.1 and a GPU",
      {
        qemu_version: "9.2.1",
        cpu_count: 16,
        memory_size: 64 * 2 ** 30,
        num_gpus: 1,
        hotplug_off: true,
        pci_hole64_size: 16 * 2 ** 40,
      },
      "80c3a83ed2e4dacc2f405bee0ccc606b16f8521365f2be61975bc2e514b84a49",
    ],
  ];
  for (const [what, change, expected] of golden) {
    it(`give the listed digest for ${what}`, () => {
      assert.equal(toHex(sha256(acpiTables(machine({ ...base, ...change })).tables)), expected);
    });
  }
});

describe("ACPI tables of a real QEMU", () => {
  const { qemu_version, sha384 } = readRecord();
  it("are recorded for every case, and for no other", () =>
    assert.deepEqual(
      Object.keys(sha384),
      qemuCases.map(({ name }) => name),
    ));
  for (const { name, config, hardware } of qemuCases) {
    it(`have the recorded digests: ${name}`, () => {
      assert.deepEqual(digests(acpiTables(machineOf(vmConfig({ ...config, qemu_version }), hardware))), sha384[name]);
    });
  }
});

describe("machineOf", () => {
  const refused = (change: Record<string, unknown>, code: string) => {
    assert.throws(
      () => machine({ ...base, ...change }),
      (error) => error instanceof MeasureError && error.code === code,
    );
  };
  it("refuses GPUs on root ports while PCI hotplug is on, because those tables are not modelled", () =>
    refused({ num_gpus: 1 }, "unsupported"));
  it("refuses switches on root ports while PCI hotplug is on, also beside an expander", () =>
    refused({ num_gpus: 1, num_nvswitches: 1, hugepages: true }, "unsupported"));
  it("refuses a software TPM", () => refused({ swtpm: true }, "unsupported"));
  it("refuses a QEMU older than 8", () => refused({ qemu_version: "7.2.0" }, "unsupported"));
  it("refuses a QEMU version with a distribution's suffix", () =>
    refused({ qemu_version: "8.2.2 (Debian 1:8.2.2)" }, "vm-config-invalid"));
  it("refuses no CPU and too many CPUs", () => {
    refused({ cpu_count: 0 }, "vm-config-invalid");
    refused({ cpu_count: 4097 }, "vm-config-invalid");
  });
  it("refuses more devices than a bus has slots, before it makes room for them", () => {
    refused({ num_nics: 4_000_000_000 }, "vm-config-invalid");
    refused({ num_gpus: 4_000_000_000, hotplug_off: true }, "vm-config-invalid");
  });
  it("places root ports after the devices and around the expander", () => {
    const many = machine({ ...base, num_nics: 10, hugepages: true, num_gpus: 1, num_nvswitches: 3, hotplug_off: true });
    assert.deepEqual(many.rootPortSlots, [0x0f, 0x11, 0x12]);
  });
  it("takes page adding and PIC from the QEMU version unless they are given", () => {
    assert.equal(machine({ ...base, qemu_version: "8.2.2" }).pic, true);
    assert.equal(machine({ ...base, qemu_version: "8.2.2", pic: false }).pic, false);
    assert.equal(machine({ ...base, qemu_version: "10.0.2" }).pic, false);
  });
});
