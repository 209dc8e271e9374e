import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { concatBytes, toHex, u64le, utf8 } from "@dstack/bytes";
import { MeasureError } from "../src/errors.ts";
import { mrtd } from "../src/mrtd.ts";
import { parseTdvf } from "../src/tdvf.ts";
import { firmwareFixture, guidEntry, sections } from "./fixtures.ts";
import type { FirmwareFixture } from "./fixtures.ts";

const withSection = (change: Partial<(typeof sections)[number]>): FirmwareFixture => ({
  sections: [{ ...sections[0]!, ...change }, ...sections.slice(1)],
});

function refuses(fixture: FirmwareFixture | Uint8Array, text: RegExp): void {
  const firmware = fixture instanceof Uint8Array ? fixture : firmwareFixture(fixture);
  assert.throws(
    () => parseTdvf(firmware),
    (error) => error instanceof MeasureError && error.code === "firmware-invalid" && text.test(error.message),
  );
}

describe("parseTdvf", () => {
  it("reads the sections in table order", () => {
    const parsed = parseTdvf(firmwareFixture());
    assert.deepEqual(
      parsed.map(({ address, memoryBytes, type, extend }) => [address, memoryBytes, type, extend]),
      sections.map((s) => [Number(s.address), Number(s.memory), s.type, s.attributes === 1]),
    );
  });
  it("walks over other entries of the table", () => {
    const other = guidEntry(new Uint8Array(10), "11111111-2222-3333-4444-555555555555");
    assert.equal(parseTdvf(firmwareFixture({ entries: other })).length, sections.length);
  });
  it("refuses a file too short for a table", () => refuses(new Uint8Array(40), /table of GUIDed entries/));
  it("refuses a file without the table's footer", () => refuses(new Uint8Array(4096), /footer/));
  it("refuses a table without a TDVF entry", () =>
    refuses({ tdvfGuid: "11111111-2222-3333-4444-555555555555" }, /found none/));
  it("refuses a table entry of length 0, which would never end", () => {
    const firmware = firmwareFixture({ entries: guidEntry(new Uint8Array(0), "11111111-2222-3333-4444-555555555555") });
    new DataView(firmware.buffer).setUint16(firmware.length - 32 - 18 - 18, 0, true);
    refuses(firmware, /table entry of 18/);
  });
  it("refuses another descriptor signature, version, length or count", () => {
    refuses({ signature: "TDVX" }, /signature/);
    refuses({ version: 2 }, /version 1/);
    refuses({ length: 15 }, /descriptor of/);
    refuses({ count: 0 }, /1 to 64/);
    refuses({ count: 100_000 }, /1 to 64/);
  });
  it("refuses a section whose data ends outside the file", () =>
    refuses(withSection({ offset: 0x9_0000 }), /inside the file/));
  it("refuses a section with less memory than data", () =>
    refuses(withSection({ memory: 0x1000n }), /not below its data/));
  it("refuses addresses and sizes that are not whole pages", () => {
    refuses(withSection({ address: 0x1001n }), /in pages/);
    refuses(withSection({ memory: 0x2001n }), /in pages/);
  });
  it("refuses sections that would take for ever to hash", () => {
    refuses(withSection({ memory: 1n << 40n }), /section in memory/);
    refuses({ sections: sections.map((section) => ({ ...section, memory: 0x1000_0000n })) }, /sections of at most/);
  });
});

/** The rule as written, one record at a time. */
function slowMrtd(firmware: Uint8Array, twoPass: boolean): string {
  const hash = createHash("sha384");
  const put = (name: string, address: bigint): void => {
    hash.update(concatBytes(utf8(name), new Uint8Array(16 - name.length), u64le(address), new Uint8Array(104)));
  };
  for (const section of sections) {
    const adds: (() => void)[] = [];
    const extends_: (() => void)[] = [];
    const both: (() => void)[] = [];
    for (let page = 0n; page < section.memory / 4096n; page++) {
      const add = () => put("MEM.PAGE.ADD", section.address + page * 4096n);
      adds.push(add);
      both.push(add);
      if (section.attributes !== 1) continue;
      const extend = () => {
        for (let chunk = 0n; chunk < 16n; chunk++) {
          put("MR.EXTEND", section.address + page * 4096n + chunk * 256n);
          const at = section.offset + Number(page * 4096n + chunk * 256n);
          hash.update(firmware.subarray(at, at + 256));
        }
      };
      extends_.push(extend);
      both.push(extend);
    }
    for (const step of twoPass ? [...adds, ...extends_] : both) step();
  }
  return hash.digest("hex");
}

describe("MRTD", () => {
  const firmware = firmwareFixture();
  const parsed = parseTdvf(firmware);
  it("hashes each page as it is added in a single pass", () => {
    assert.equal(toHex(mrtd(firmware, parsed, "single")), slowMrtd(firmware, false));
  });
  it("hashes the contents after all pages of a section in two passes", () => {
    assert.equal(toHex(mrtd(firmware, parsed, "two")), slowMrtd(firmware, true));
  });
  it("leaves out pages that are added after the measurement", () => {
    const augmented = parsed.map((section) => ({ ...section, augmented: section.type === 3 }));
    assert.notDeepEqual(mrtd(firmware, augmented, "single"), mrtd(firmware, parsed, "single"));
  });
  it("takes memory beyond a section's data as zeros", () => {
    const short = firmwareFixture(withSection({ raw: 0x1080 }));
    const zeroed = firmware.slice();
    zeroed.fill(0, sections[0]!.offset + 0x1080, sections[0]!.offset + 0x2000);
    assert.deepEqual(mrtd(short, parseTdvf(short), "single"), mrtd(zeroed, parseTdvf(zeroed), "single"));
  });
});
