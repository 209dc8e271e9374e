/** Each bound of the readers from both sides: the last value that is taken and the first that is not. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { concatBytes, u16le, u32le, utf8 } from "@dstack/bytes";
import { decode, encode } from "cborg";
import { authenticodeParts } from "../src/authenticode.ts";
import { inBootOrder } from "../src/ccel.ts";
import { compareMeasurements } from "../src/compare.ts";
import { MeasureError } from "../src/errors.ts";
import { guidBytes } from "../src/guid.ts";
import { patchedKernelHead } from "../src/kernel-header.ts";
import { machineOf } from "../src/machine.ts";
import { measureVm } from "../src/measure-vm.ts";
import { mrtd } from "../src/mrtd.ts";
import { qemuDefaults, qemuVersionIn } from "../src/qemu-profile.ts";
import { sha384 } from "../src/sha.ts";
import { decodeTdHobWitness, encodeTdHobWitness, tdHob, tdHobLayout } from "../src/td-hob.ts";
import { parseTdxMeasurement, tdxMeasurementCbor } from "../src/tdx-measurement.ts";
import { parseTdvf } from "../src/tdvf.ts";
import { encodeVmConfig, parseVmConfig } from "../src/vm-config.ts";
import { files, firmwareFixture, guidEntry, kernelFixture, vmConfig } from "./fixtures.ts";
import type { FirmwareFixture } from "./fixtures.ts";

/** Of a MeasureError, "code: message"; of what is taken, "taken". */
function verdict(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof MeasureError, String(error));
    assert.equal(error.name, "MeasureError");
    return `${error.code}: ${error.message}`;
  }
  return "taken";
}

describe("firmware", () => {
  const read = (fixture: FirmwareFixture | Uint8Array): string =>
    verdict(() => parseTdvf(fixture instanceof Uint8Array ? fixture : firmwareFixture(fixture)));
  const page = (index: number, change: object = {}) => ({
    offset: 0,
    raw: 0,
    address: BigInt(index) * 4096n,
    memory: 4096n,
    type: 3,
    attributes: 0,
    ...change,
  });

  it("has at most 64 MiB", () => {
    assert.match(read(new Uint8Array(64 * 2 ** 20 + 1)), /at most 67108864 bytes, got 67108865/);
    assert.match(read(new Uint8Array(64 * 2 ** 20)), /footer/);
  });
  it("has at most 64 sections, and all of them inside the file", () => {
    assert.equal(read({ sections: Array.from({ length: 64 }, (_, index) => page(index)) }), "taken");
    assert.match(read({ sections: Array.from({ length: 65 }, (_, index) => page(index)) }), /1 to 64/);
    assert.match(read({ count: 60, length: 16 + 60 * 32 }), /sections inside the file/);
  });
  it("adds up to at most 512 MiB of memory", () => {
    assert.equal(read({ sections: [page(0, { memory: 1n << 29n })] }), "taken");
    assert.match(
      read({ sections: [page(0, { memory: (1n << 29n) - 4096n }), page(1, { memory: 8192n })] }),
      /sections of at most 536870912 bytes/,
    );
    assert.match(read({ sections: [page(0, { memory: (1n << 29n) + 4096n })] }), /section in memory/);
  });
  it("lies below 64 TiB", () => {
    assert.equal(read({ sections: [page(0, { address: (1n << 46n) - 4096n })] }), "taken");
    assert.match(read({ sections: [page(0, { address: 1n << 46n })] }), /a section in memory/);
  });
  it("has a section's data up to its last byte", () => {
    const length = firmwareFixture({ sections: [page(0)] }).length;
    assert.equal(read({ sections: [page(0, { offset: length - 4096, raw: 4096 })] }), "taken");
    assert.match(read({ sections: [page(0, { offset: length - 4095, raw: 4096 })] }), /section data inside the file/);
  });
  it("marks what is measured and what is added later", () => {
    const flags = [0, 1, 2, 3].map(
      (attributes) => parseTdvf(firmwareFixture({ sections: [page(0, { attributes })] }))[0],
    );
    assert.deepEqual(
      flags.map((section) => [section?.extend, section?.augmented]),
      [
        [false, false],
        [true, false],
        [false, true],
        [true, true],
      ],
    );
  });

  /** A file that is little more than a table of GUIDed entries. */
  const small = (before: number, table: Uint8Array, tableLength = table.length): Uint8Array =>
    concatBytes(
      new Uint8Array(before),
      table,
      u16le(tableLength),
      guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d"),
      new Uint8Array(32),
    );
  const TDVF_GUID = "e47a6535-984a-4798-865e-4685a7bf8ec2";
  const other = (bytes: number): Uint8Array => guidEntry(new Uint8Array(bytes), "11111111-2222-3333-4444-555555555555");

  it("is long enough for a table, and the table for what it says", () => {
    assert.match(read(new Uint8Array(49)), /expected a table of GUIDed entries, got a file of 49 bytes/);
    assert.match(read(new Uint8Array(50)), /footer/);
    assert.match(read(small(20, new Uint8Array(0))), /a table of 1 to 20 bytes, got 0/);
    assert.match(read(small(0, other(4), 23)), /a table of 1 to 22 bytes, got 23/);
    assert.match(read(small(0, other(4))), /found none/);
  });
  it("ends at an entry that is longer than what is left, and takes one without data", () => {
    const lying = other(4);
    lying.set(u16le(23), 4);
    assert.match(read(small(10, lying)), /a table entry of 18 to 22 bytes, got 23/);
    assert.match(read(small(10, other(0))), /found none/);
    assert.equal(read({ entries: other(0) }), "taken");
  });
  it("says where its descriptor is, inside the file", () => {
    assert.match(read(small(10, guidEntry(new Uint8Array(3), TDVF_GUID))), /a TDVF entry with an offset, got 21 bytes/);
    assert.match(read(small(10, guidEntry(new Uint8Array(0), TDVF_GUID))), /a TDVF entry with an offset, got 18 bytes/);
    const pointing = (distance: number): string => read(small(10, guidEntry(u32le(distance), TDVF_GUID)));
    const length = 10 + 22 + 18 + 32;
    assert.match(pointing(15), /descriptor within the file's last 82 bytes, got 15/);
    assert.match(pointing(16), /descriptor signature/);
    assert.match(pointing(length), /descriptor signature/);
    assert.match(pointing(length + 1), /descriptor within the file's last 82 bytes, got 83/);
  });
});

describe("kernel", () => {
  const GIB = 2 ** 30;
  const patch = (fixture: object, initrd: number, memory = 2 * GIB): string =>
    verdict(() => patchedKernelHead(kernelFixture(fixture), initrd, memory));
  const digestible = (change: (view: DataView, kernel: Uint8Array) => void, fixture: object = {}): string => {
    const kernel = kernelFixture(fixture);
    change(new DataView(kernel.buffer), kernel);
    return verdict(() => authenticodeParts(kernel));
  };

  it("has 4 KiB to 256 MiB", () => {
    const grown = (length: number): Uint8Array => {
      const kernel = new Uint8Array(length);
      kernel.set(kernelFixture().subarray(0, length));
      return kernel;
    };
    assert.match(
      verdict(() => patchedKernelHead(grown(4095), 1, GIB)),
      /4096 to 268435456 bytes, got 4095/,
    );
    assert.equal(
      verdict(() => patchedKernelHead(grown(4096), 1, GIB)),
      "taken",
    );
    assert.equal(
      verdict(() => patchedKernelHead(grown(2 ** 28), 1, GIB)),
      "taken",
    );
    assert.match(
      verdict(() => patchedKernelHead(grown(2 ** 28 + 1), 1, GIB)),
      /got 268435457/,
    );
  });
  it("has protocol 2.02 at least", () => {
    assert.equal(patch({ protocol: 0x202 }, 1), "taken");
    assert.match(patch({ protocol: 0x201 }, 1), /0x202 or newer, got 0x201/);
  });
  it("may be loaded above 4 GiB from protocol 2.12 on", () => {
    const initrd = (protocol: number): number =>
      new DataView(
        patchedKernelHead(kernelFixture({ protocol, initrdMax: 0x1000_0000 }), 4096, 2 * GIB).buffer,
      ).getUint32(0x218, true);
    assert.equal(initrd(0x20b), 0x1000_0000 - 4096);
    assert.equal(initrd(0x20c), 0x8000_0000 - 0x2_8000 - 0x2000);
  });
  it("leaves room for its initrd, to the byte", () => {
    const limit = 2 * GIB - 0x2_8000 - 1;
    assert.equal(patch({}, limit - 1), "taken");
    assert.match(patch({}, limit), /unsupported: initrd: expected fewer than 2147319807 bytes/);
    assert.equal(patch({ protocol: 0x203, initrdMax: 5000 }, 4999), "taken");
    assert.match(patch({ protocol: 0x203, initrdMax: 5000 }, 5000), /fewer than 5000 bytes/);
    // A header's limit that is the memory's own end counts as above it.
    assert.match(patch({ protocol: 0x203, initrdMax: 2 * GIB - 0x2_8000 }, limit), /fewer than 2147319807 bytes/);
    assert.match(patch({}, 1, 0x2_7fff), /memory_size: 163839 bytes are too few/);
    assert.match(patch({}, 1, 0x2_8000), /fewer than -1 bytes/);
  });
  it("has at most 96 sections, whose table lies inside", () => {
    const sectionCount = (count: number): string =>
      digestible(
        (view) => {
          view.setUint16(0x86, count, true);
        },
        { trailing: 0x1000 },
      );
    assert.equal(sectionCount(96), "taken");
    assert.match(sectionCount(97), /at most 96 sections, got 97/);
  });
  it("has an optional header with a certificate entry, and headers that cover it", () => {
    const optionalBytes = (bytes: number): string =>
      digestible((view) => {
        view.setUint16(0x94, bytes, true);
      });
    assert.equal(optionalBytes(152), "taken");
    assert.match(optionalBytes(151), /a certificate entry, got 151 bytes/);
    assert.match(optionalBytes(1), /PE32 or PE32\+ image, got magic 0/);
    const headerBytes = (bytes: number): string =>
      digestible((view) => {
        view.setUint32(0x98 + 60, bytes, true);
      });
    assert.equal(headerBytes(0x98 + 152), "taken");
    assert.match(headerBytes(0x98 + 151), /cover the certificate entry, got 303 bytes/);
  });
  it("has its certificates inside the file, to the byte", () => {
    const certificate = (bytes: number): string =>
      digestible(
        (view) => {
          view.setUint32(0x98 + 148, bytes, true);
        },
        { trailing: 64 },
      );
    assert.equal(certificate(64), "taken");
    assert.match(certificate(65), /the certificate table inside the file, got end 12353 of 12352/);
  });
  it("is hashed in the order of the file, whatever the order of its section table", () => {
    const swapped = kernelFixture();
    const table = 0x98 + 0xa0;
    const first = swapped.slice(table, table + 40);
    swapped.copyWithin(table, table + 40, table + 80);
    swapped.set(first, table + 40);
    for (const kernel of [kernelFixture(), swapped])
      assert.deepEqual(
        authenticodeParts(kernel)
          .slice(3)
          .map((part) => part.byteOffset),
        [0x400, 0x1000],
      );
  });
  it("names the header that lies outside", () => {
    assert.match(
      verdict(() => authenticodeParts(new Uint8Array(0x3f))),
      /PE offset inside the first 63 bytes, got end 64/,
    );
    assert.match(
      digestible((view) => {
        view.setUint32(0x3c, 0x2ff0, true);
      }),
      /PE header inside the first 12288 bytes, got end 12296/,
    );
    assert.match(
      digestible((view) => {
        view.setUint32(0x98 + 60, 0x3001, true);
      }),
      /headers inside the first 12288 bytes, got end 12289/,
    );
    // The table of sections counts, not the optional header alone.
    assert.match(
      digestible((view) => {
        view.setUint16(0x94, 12_288 - 0x98 - 80 + 1, true);
      }),
      /optional header and section table inside the first 12288 bytes, got end 12289/,
    );
  });
  it("has no part for an empty section", () => {
    const kernel = kernelFixture();
    new DataView(kernel.buffer).setUint32(0x98 + 0xa0 + 16, 0, true);
    assert.equal(authenticodeParts(kernel).length, 4);
  });
});

describe("TD HOB witness", () => {
  const good = tdHobLayout(parseTdvf(firmwareFixture()));
  const witness = (...numbers: number[]): Uint8Array => Uint8Array.from(numbers);
  const read = (bytes: Uint8Array): string => verdict(() => decodeTdHobWitness(bytes));

  it("names what is wrong", () => {
    assert.match(read(witness(1, 1)), /expected more bytes, got the end/);
    assert.match(read(witness(0x80, 0x00, 1, 0)), /shortest form/);
    assert.match(read(witness(0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0)), /at most 35 bits/);
    assert.match(read(witness(1, 1, 0, 7)), /no trailing bytes, got 1/);
    assert.match(read(witness(1, 1, 1, 0, 0)), /ascending ranges that do not overlap, got 4096 to 4096 after 0/);
  });
  it("takes a number of five groups and 64 ranges, and neither of one more", () => {
    assert.equal(read(witness(0x80, 0x80, 0x80, 0x80, 0x01, 0, 0)), "taken");
    const ranges = (count: number): Uint8Array =>
      encodeTdHobWitness({
        hobAddress: 0,
        accepted: Array.from({ length: count }, (_, index) => ({ start: index * 8192, end: index * 8192 + 4096 })),
      });
    assert.equal(read(ranges(64)), "taken");
    assert.match(read(ranges(65)), /at most 64 ranges, got 65/);
  });
  it("needs one byte of memory more than the firmware's ranges end at", () => {
    const end = good.accepted.at(-1)!.end;
    assert.match(
      verdict(() => tdHob(good, end)),
      /expected more than the 8519680 bytes that the firmware uses/,
    );
    assert.equal(
      verdict(() => tdHob(good, end + 1)),
      "taken",
    );
    assert.equal(tdHob({ hobAddress: 0, accepted: [] }, 4096).length, 56 + 48);
  });
});

describe("machine", () => {
  const machine = (change: Record<string, unknown>): string => verdict(() => machineOf(vmConfig(change)));
  it("has sizes that a machine can have", () => {
    for (const [key, min, max] of [
      ["cpu_count", 1, 4096],
      ["memory_size", 0x10_0000, 2 ** 46],
      ["pci_hole64_size", 0, 2 ** 46],
    ] as const) {
      assert.equal(machine({ [key]: min }), "taken");
      assert.equal(machine({ [key]: max }), "taken");
      if (min > 0)
        assert.match(machine({ [key]: min - 1 }), new RegExp(`vm-config-invalid: ${key}: expected ${min} to`));
      assert.match(machine({ [key]: max + 1 }), new RegExp(`vm-config-invalid: ${key}: expected ${min} to ${max}`));
    }
  });
  it("has slots for its devices", () => {
    assert.equal(machine({ num_nics: 26 }), "taken");
    assert.match(machine({ num_nics: 27 }), /PCI slots in use: expected 4 to 31, got 32/);
    assert.equal(machine({ num_nvswitches: 10, num_gpus: 15, hotplug_off: true }), "taken");
    assert.match(
      machine({ num_nvswitches: 10, num_gpus: 16, hotplug_off: true }),
      /PCI slots in use: expected 4 to 31, got 32/,
    );
    assert.match(machine({ num_gpus: 1 }), /unsupported: num_gpus \+ num_nvswitches: 1 root ports/);
  });
  it("has its PCI expander behind the other devices, with 1 to 32 GPUs", () => {
    const expander = { hugepages: true, hotplug_off: true };
    assert.equal(machine({ ...expander, num_gpus: 32, num_nics: 11 }), "taken");
    assert.match(machine({ ...expander, num_gpus: 33 }), /num_gpus behind the PCI expander: expected 1 to 32, got 33/);
    assert.match(
      machine({ ...expander, num_gpus: 1, num_nics: 12 }),
      /devices before the PCI expander: expected 4 to 16, got 17/,
    );
    assert.match(
      machine({ ...expander, num_gpus: 1, num_nics: 11, num_nvswitches: 15 }),
      /PCI slots in use: expected 4 to 31, got 32/,
    );
  });
});

describe("QEMU versions", () => {
  it("are three numbers of up to four digits", () => {
    for (const version of ["10.0.2", "8.0.0", "1234.1.1", "9.1234.1", "9.1.1234"])
      assert.equal(
        verdict(() => qemuDefaults(version)),
        "taken",
        version,
      );
    for (const version of [
      "10.0",
      "10.0.2.1",
      "v10.0.2",
      " 10.0.2",
      "10.0.2 ",
      "12345.0.0",
      "9.12345.0",
      "9.1.12345",
      "10..2",
      "",
    ]) {
      assert.match(
        verdict(() => qemuDefaults(version)),
        /vm-config-invalid: qemu_version: expected three numbers/,
        version,
      );
    }
    assert.match(
      verdict(() => qemuDefaults("7.2.19")),
      /unsupported: qemu_version: expected 8.0.0 or newer, got 7.2.19/,
    );
    assert.equal(JSON.stringify(verdict(() => qemuDefaults("x".repeat(500)))).length < 200, true);
  });
  it("decide what a configuration leaves open", () => {
    const of = (version?: string) => {
      const { pic, mrtdPass, mayLeaveKernel, acpi } = qemuDefaults(version);
      return [pic, mrtdPass, mayLeaveKernel, ...Object.values(acpi)].map(String).join(" ");
    };
    assert.equal(of("8.2.9"), "true two false false false false true false");
    assert.equal(of(), "false single false false false false true false");
    assert.equal(of("9.1.9"), of());
    assert.equal(of("9.2.0"), "false single false true true false true false");
    assert.equal(of("10.0.0"), "false single true true true true true false");
    assert.equal(of("10.2.0"), of("10.0.0"));
    assert.equal(of("11.0.5"), "false single true true true true false false");
    assert.equal(of("11.1.0"), "false single true true true true false true");
    assert.equal(of("12.0.0"), of("11.1.0"));
  });
  it("are found in what QEMU prints", () => {
    assert.equal(qemuVersionIn("QEMU emulator version 10.20.345 (Debian 1:10.0.2+ds)\nCopyright"), "10.20.345");
    for (const text of ["", "QEMU emulator", "version 10.0", "version x.y.z", `${" ".repeat(400)}version 10.0.2`])
      assert.equal(qemuVersionIn(text), undefined, text);
  });
});

describe("VM configuration", () => {
  const read = (text: string): string => verdict(() => parseVmConfig(text));
  it("has at most 256 KiB, and numbers up to their last", () => {
    const padded = (length: number): string => `{"image":"${"x".repeat(length - 12)}"}`;
    assert.equal(read(padded(262_144)), "taken");
    assert.match(read(padded(262_145)), /at most 262144 characters, got 262145/);
    assert.equal(read('{"cpu_count":4294967295,"memory_size":9007199254740991}'), "taken");
    assert.match(
      read('{"cpu_count":4294967296}'),
      /cpu_count: expected an integer from 0 to 4294967295, got 4294967296/,
    );
  });
  it("says of each member what was expected and what came", () => {
    for (const [text, message] of [
      ["{", /vm_config text: expected JSON, got text that is not JSON/],
      ["[]", /vm_config text: expected an object, got an array/],
      ["null", /got null/],
      ['{"cpu_count":"2"}', /cpu_count: expected an integer from 0 to 4294967295, got a string/],
      ['{"cpu_count":null}', /got null/],
      ['{"pic":1}', /pic: expected true or false, got a number/],
      ['{"image":true}', /image: expected a string, got a boolean/],
      ['{"tdx_measurement":{}}', /tdx_measurement.checksum_file: expected base64 text, got nothing/],
      ['{"tdx_measurement":{"checksum_file":[],"measurement":""}}', /got an array/],
      ['{"tdx_measurement":[]}', /tdx_measurement: expected an object, got an array/],
      [
        `{"tdx_measurement":{"checksum_file":"${"A".repeat(65_540)}","measurement":""}}`,
        /checksum_file: expected at most 65536 characters, got 65540/,
      ],
      [`{"tdx_attestation_variant":"${"v".repeat(50)}"}`, /expected legacy or lite, got "v{40}"$/],
      ['{"os_image_hash":"zz"}', /os_image_hash: expected 64 hex digits or nothing, got 2 characters/],
    ] as const)
      assert.match(read(text), message);
    assert.equal(read(`{"tdx_measurement":{"checksum_file":"${"A".repeat(65_536)}","measurement":""}}`), "taken");
  });
  it("comes back as it was written, each member with another value than its default", () => {
    const config = parseVmConfig(
      JSON.stringify({
        os_image_hash: "ab".repeat(32),
        cpu_count: 3,
        memory_size: 2 ** 31,
        qemu_single_pass_add_pages: true,
        pic: false,
        qemu_version: "9.2.1",
        pci_hole64_size: 7,
        hugepages: true,
        num_gpus: 1,
        num_nvswitches: 2,
        num_nics: 0,
        num_verity_volumes: 4,
        swtpm: true,
        hotplug_off: true,
        image: "i",
        host_share_mode: "9p",
        ovmf_variant: "stable202505",
        tdx_attestation_variant: "lite",
        tdx_measurement: { checksum_file: "YWI=", measurement: "AAE=" },
      }),
    );
    assert.deepEqual(parseVmConfig(encodeVmConfig(config)), config);
    for (const mode of ["foo", "9P", " "])
      assert.throws(
        () => parseVmConfig(JSON.stringify({ host_share_mode: mode })),
        /host_share_mode: expected "", "9p", "vvfat", "vhd", got/,
      );
    const {
      spec_version: version,
      num_nics: nics,
      tdx_attestation_variant: variant,
    } = JSON.parse(encodeVmConfig(config)) as Record<string, unknown>;
    assert.deepEqual([version, nics, variant], [1, 0, "lite"]);
  });
});

describe("measurement.tdx.cbor", () => {
  const document = tdxMeasurementCbor(files());
  const plain = (): Record<string, Record<string, unknown>> =>
    decode(document) as Record<string, Record<string, unknown>>;
  const read = (bytes: Uint8Array): string => verdict(() => parseTdxMeasurement(bytes));
  it("has at most 64 KiB", () => {
    assert.match(read(new Uint8Array(65_537)), /document: expected at most 65536 bytes, got 65537/);
    assert.match(read(new Uint8Array(65_536)), /not valid CBOR/);
  });
  it("is CBOR in definite form without undefined values or repeated keys", () => {
    for (const hex of ["bf616101ff", "a16161f7", "a2616101616102", "a1616118ff00", "9fff", "fb7ff8000000000000"]) {
      assert.match(read(Uint8Array.from(Buffer.from(hex, "hex"))), /^measurement-document-invalid/, hex);
    }
    assert.match(read(Uint8Array.from(Buffer.from("bf616101ff", "hex"))), /not valid CBOR/);
    assert.match(read(Uint8Array.from(Buffer.from("a16161f7", "hex"))), /not valid CBOR/);
    assert.match(read(Uint8Array.from(Buffer.from("a2616101616102", "hex"))), /not valid CBOR/);
    assert.match(read(Uint8Array.from(Buffer.from("a161611801", "hex"))), /not valid CBOR/);
  });
  it("names the member, what was expected and what came", () => {
    const changed = (change: (value: ReturnType<typeof plain>) => void): string => {
      const value = plain();
      change(value);
      return read(encode(value));
    };
    for (const [member, name] of [
      ["cmdline_sha384", "image.cmdline_sha384"],
      ["kernel_authenticode", "image.kernel_authenticode"],
      ["initrd_sha384", "image.initrd_sha384"],
    ] as const) {
      assert.match(
        changed((value) => {
          value["image"]![member] = new Uint8Array(47);
        }),
        new RegExp(`${name}: expected 48 bytes, got 47`),
      );
      assert.match(
        changed((value) => {
          value["image"]![member] = 5;
        }),
        new RegExp(`${name}: expected bytes, got 5`),
      );
    }
    for (const member of ["single_pass", "two_pass"] as const) {
      assert.match(
        changed((value) => {
          (value["tdvf"]!["mrtd"] as Record<string, unknown>)[member] = "x";
        }),
        new RegExp(`tdvf.mrtd.${member}: expected bytes, got "x"`),
      );
    }
    assert.match(
      changed((value) => {
        value["tdvf"]!["td_hob"] = true;
      }),
      /tdvf.td_hob: expected bytes, got a boolean/,
    );
    assert.match(
      changed((value) => {
        value["image"] = [] as never;
      }),
      /image: expected a map, got a object/,
    );
    assert.match(
      changed((value) => {
        delete value["image"]!["initrd_sha384"];
        value["image"]!["other"] = 1;
      }),
      /image: expected the keys cmdline_sha384, kernel_authenticode, initrd_sha384, got "other", "cmdline_sha384", "kernel_authenticode"/,
    );
    assert.match(read(encode(5)), /document: expected a map, got 5/);
  });
});

describe("registers", () => {
  it("count pages above 4 GiB by their whole address", () => {
    const firmware = firmwareFixture();
    const section = {
      dataOffset: 0,
      rawBytes: 4096,
      address: 5 * 2 ** 32 + 8192,
      memoryBytes: 4096,
      type: 0,
      extend: true,
      augmented: false,
    };
    const record = (name: string, address: number): Uint8Array => {
      const bytes = new Uint8Array(128);
      bytes.set(utf8(name));
      new DataView(bytes.buffer).setBigUint64(16, BigInt(address), true);
      return bytes;
    };
    const chunks = Array.from({ length: 16 }, (_, i) => [
      record("MR.EXTEND", section.address + 256 * i),
      firmware.subarray(256 * i, 256 * (i + 1)),
    ]).flat();
    assert.deepEqual(mrtd(firmware, [section], "single"), sha384(record("MEM.PAGE.ADD", section.address), ...chunks));
  });
  it("are explained without a configuration too, event by event", () => {
    const expected = measureVm(files(), vmConfig());
    const got = measureVm(files(), vmConfig({ cpu_count: 4 }));
    const [difference] = compareMeasurements(expected, got, inBootOrder(got.events));
    assert.match(difference?.hint ?? "", /^RTMR0 differs first at event 9 of 13 \(etc\/table-loader\); RTMR0 covers/);
  });
  it("name the fw_cfg files that the older firmware measures", () => {
    const labels = measureVm(files(), vmConfig({ ovmf_variant: "stable202505" })).events.imr0.map(({ label }) => label);
    assert.deepEqual(labels.slice(2, 4), ["fw_cfg BootMenu", "fw_cfg bootorder"]);
  });
});
