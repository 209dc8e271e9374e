import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hash32 } from "@dstack/bytes";
import fc from "fast-check";
import { acpiTables } from "../src/acpi/acpi-tables.ts";
import { MeasureError } from "../src/errors.ts";
import { machineOf } from "../src/machine.ts";
import { decodeTdHobWitness, encodeTdHobWitness } from "../src/td-hob.ts";
import { parseTdxMeasurement, tdxMeasurementCbor } from "../src/tdx-measurement.ts";
import { parseTdvf } from "../src/tdvf.ts";
import { encodeVmConfig, parseVmConfig } from "../src/vm-config.ts";
import type { VmConfig } from "../src/vm-config.ts";
import { files, firmwareFixture } from "./fixtures.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const optional = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const size = fc.maxSafeNat();
const count = fc.nat(0xffff_ffff);

const anyConfig: fc.Arbitrary<VmConfig> = fc.record(
  {
    osImageHash: bytes(32).map((value) => hash32(value)),
    cpuCount: count,
    memoryBytes: size,
    twoPassAddPages: fc.boolean(),
    pic: fc.boolean(),
    qemuVersion: fc.string(),
    pciHole64Bytes: size,
    hugepages: fc.boolean(),
    numGpus: count,
    numNvswitches: count,
    numNics: count,
    numVerityVolumes: count,
    swtpm: fc.boolean(),
    hotplugOff: fc.boolean(),
    image: fc.string(),
    hostShareMode: fc.constantFrom("", "9p", "vvfat", "vhd"),
    ovmfVariant: fc.string(),
    attestationVariant: fc.constantFrom("legacy" as const, "lite" as const),
    tdxMeasurement: fc.record(
      { checksumFile: fc.uint8Array(), measurement: fc.uint8Array() },
      { noNullPrototype: true },
    ),
  },
  {
    noNullPrototype: true,
    requiredKeys: [
      "cpuCount",
      "memoryBytes",
      "pciHole64Bytes",
      "hugepages",
      "numGpus",
      "numNvswitches",
      "numNics",
      "numVerityVolumes",
      "swtpm",
      "hotplugOff",
      "attestationVariant",
    ],
  },
);

/** What the ACPI generator models. */
const machineKeys = fc.record({
  cpu_count: fc.integer({ min: 1, max: 300 }),
  memory_size: fc.integer({ min: 2, max: 4096 }).map((mib) => mib * 2 ** 20 * 16),
  qemu_version: fc.constantFrom("8.2.0", "9.1.0", "9.2.1", "10.0.2", "11.0.0", "11.1.0"),
  pic: fc.boolean(),
  hugepages: fc.boolean(),
  hotplug_off: fc.boolean(),
  num_nics: fc.nat(3),
  num_verity_volumes: fc.nat(4),
});

describe("properties", () => {
  it("parses what it encoded to the same VM configuration", () => {
    fc.assert(fc.property(anyConfig, (config) => assert.deepEqual(parseVmConfig(encodeVmConfig(config)), config)));
  });
  it("meets any text with a configuration or its own error", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          optional(fc.json()).map((value) => JSON.stringify({ cpu_count: value })),
        ),
        (text) => {
          onlyMeasureErrors(() => parseVmConfig(text));
        },
      ),
    );
  });
  it("meets any damage to a firmware's last 300 bytes with sections or its own error", () => {
    const firmware = firmwareFixture();
    fc.assert(
      fc.property(fc.nat(299), fc.nat(255), (at, value) => {
        const damaged = firmware.slice();
        damaged[damaged.length - 1 - at] = value;
        onlyMeasureErrors(() => parseTdvf(damaged));
      }),
      { numRuns: 300 },
    );
  });
  it("writes a TD HOB witness back as it was, or refuses it", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 4000 }), fc.integer({ min: 1, max: 300 })), {
          minLength: 1,
          maxLength: 8,
        }),
        (gaps) => {
          let page = 0;
          const accepted = gaps.map(([gap, length]) => {
            const start = page + gap;
            page = start + length;
            return { start: start * 4096, end: page * 4096 };
          });
          const layout = { hobAddress: accepted[0]!.start, accepted };
          const witness = encodeTdHobWitness(layout);
          assert.deepEqual(decodeTdHobWitness(witness), layout);
        },
      ),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), (witness) => {
        onlyMeasureErrors(() => decodeTdHobWitness(witness));
      }),
    );
  });
  it("meets any damage to a measurement document with a value or its own error", () => {
    const document = tdxMeasurementCbor(files());
    fc.assert(
      fc.property(fc.nat(document.length - 1), fc.nat(255), (at, value) => {
        const damaged = document.slice();
        damaged[at] = value;
        onlyMeasureErrors(() => parseTdxMeasurement(damaged));
      }),
      { numRuns: 500 },
    );
  });
  it("lays ACPI tables end to end, each with its own length, and points the RSDP at the last", () => {
    fc.assert(
      fc.property(machineKeys, (keys) => {
        const { tables, rsdp, loader, layout } = acpiTables(machineOf(parseVmConfig(JSON.stringify(keys))));
        const view = new DataView(tables.buffer, tables.byteOffset, tables.byteLength);
        let end = 0;
        for (const { offset, length } of layout) {
          assert.equal(offset, end);
          assert.equal(view.getUint32(offset + 4, true), length);
          end += length;
        }
        assert.equal(tables.length % 0x2_0000, 0);
        assert.ok(tables.subarray(end).every((byte) => byte === 0));
        assert.equal(new DataView(rsdp.buffer).getUint32(16, true), layout.at(-1)!.offset);
        assert.equal(loader.length, 4096);
      }),
      { numRuns: 60 },
    );
  });
});

function onlyMeasureErrors(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof MeasureError, `unexpected ${String(error)}`);
  }
}
