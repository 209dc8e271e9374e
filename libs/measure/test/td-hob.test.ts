import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseHex, toHex } from "@dstack/bytes";
import { MeasureError } from "../src/errors.ts";
import { sha384 } from "../src/sha.ts";
import { decodeTdHobWitness, encodeTdHobWitness, tdHob, tdHobLayout } from "../src/td-hob.ts";
import { parseTdvf } from "../src/tdvf.ts";
import { firmwareFixture, sections } from "./fixtures.ts";

const layout = tdHobLayout(parseTdvf(firmwareFixture()));
const WITNESS = "80100904000609020b021010";

describe("TD HOB", () => {
  for (const [memory, length, digest] of [
    [2 ** 31, 440, "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749"],
    [2 ** 36, 488, "8ae1e425351df7992c444586eff99d35af3b779aa2b0e981cb4b73bc5b279f2ade19b6a62a203fc3c3bbdaae80af596d"],
  ] as const) {
    it(`has the digest of real logs at ${memory / 2 ** 20} MiB`, () => {
      const hob = tdHob(layout, memory);
      assert.deepEqual([hob.length, toHex(sha384(hob))], [length, digest]);
    });
  }
  it("splits memory at the PCI hole from 2.75 GiB on, not below", () => {
    const ranges = (memory: number) => {
      const hob = tdHob(layout, memory);
      const view = new DataView(hob.buffer, hob.byteOffset);
      const starts = [];
      for (let at = 56; at < hob.length; at += 48)
        starts.push([
          view.getUint32(at + 24, true),
          view.getBigUint64(at + 32, true),
          view.getBigUint64(at + 40, true),
        ]);
      return starts.slice(7);
    };
    assert.deepEqual(ranges(0xb000_0000 - 4096), [[7, 0x82_0000n, 0xaf7d_f000n]]);
    assert.deepEqual(ranges(0xb000_0000), [
      [7, 0x82_0000n, 0x7f7e_0000n],
      [7, 0x1_0000_0000n, 0x3000_0000n],
    ]);
  });
});

describe("TD HOB layout", () => {
  const refused = (run: () => unknown, code: string) => {
    assert.throws(run, (error) => error instanceof MeasureError && error.code === code);
  };
  it("has the witness of the known firmware", () => assert.equal(toHex(encodeTdHobWitness(layout)), WITNESS));
  it("refuses firmware without exactly one TD HOB section", () => {
    const without = sections.filter(({ type }) => type !== 2);
    const twice = [...sections, { ...sections[4]!, address: 0x90_0000n }];
    refused(() => tdHobLayout(parseTdvf(firmwareFixture({ sections: without }))), "firmware-invalid");
    refused(() => tdHobLayout(parseTdvf(firmwareFixture({ sections: twice }))), "firmware-invalid");
  });
  it("refuses firmware whose ranges overlap", () => {
    const overlapping = [...sections, { ...sections[2]!, address: 0x80_1000n, memory: 0x1000n }];
    refused(() => tdHobLayout(parseTdvf(firmwareFixture({ sections: overlapping }))), "firmware-invalid");
  });
  it("refuses less memory than the firmware uses", () => refused(() => tdHob(layout, 0x82_0000), "unsupported"));
  for (const [what, hex] of [
    ["trailing bytes", `${WITNESS}00`],
    ["a missing byte", WITNESS.slice(0, -2)],
    ["a number in a longer form than needed", `809000${WITNESS.slice(4)}`],
    ["ranges out of order", "801009040b02090200061010"],
    ["an empty range", "801009040000"],
    ["too many ranges", "801009ffffff07"],
    ["an endless number", "ffffffffffffffff"],
  ] as const) {
    it(`refuses a witness with ${what}`, () =>
      refused(() => decodeTdHobWitness(parseHex(hex)), "measurement-document-invalid"));
  }
});
