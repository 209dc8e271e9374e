import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseHex, toHex } from "@dstack/bytes";
import { MeasureError } from "../src/errors.ts";
import { sha384 } from "../src/sha.ts";
import { decodeTdHobWitness, encodeTdHobWitness, tdHob, tdHobLayout } from "../src/td-hob.ts";
import { parseTdvf } from "../src/tdvf.ts";
import { firmwareFixture, sections } from "./fixtures.ts";
import { vectorJson, vectorsMissing } from "./vectors.ts";

interface HobVector {
  memory_size: number;
  witness_hex: string;
  hob_hex: string;
  sha384: string;
}

const layout = tdHobLayout(parseTdvf(firmwareFixture()));
const WITNESS = "80100904000609020b021010";

describe("TD HOB", { skip: vectorsMissing }, () => {
  if (vectorsMissing) return;
  for (const vector of vectorJson<{ td_hob: HobVector[] }>("acpi/acpi.json").td_hob) {
    it(`equals the recorded bytes at ${vector.memory_size / 2 ** 20} MiB, from firmware and from witness`, () => {
      const hob = tdHob(layout, vector.memory_size);
      assert.equal(toHex(hob), vector.hob_hex);
      assert.equal(toHex(sha384(hob)), vector.sha384);
      assert.deepEqual(tdHob(decodeTdHobWitness(parseHex(vector.witness_hex)), vector.memory_size), hob);
    });
  }
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
    it(`refuses a witness with ${what}`, () => refused(() => decodeTdHobWitness(parseHex(hex)), "measurement-document-invalid"));
  }
});
