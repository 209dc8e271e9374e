import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex } from "@dstack/bytes";
import { inBootOrder } from "../src/ccel.ts";
import { compareMeasurements } from "../src/compare.ts";
import { measureVm } from "../src/measure-vm.ts";
import { files, vmConfig } from "./fixtures.ts";

const config = vmConfig();
const expected = measureVm(files(), config);

describe("compareMeasurements", () => {
  it("says nothing when all four registers match", () =>
    assert.deepEqual(compareMeasurements(expected, expected, inBootOrder(expected.events), config), []));
  it("names each register that differs, with both values and what it covers", () => {
    const got = measureVm({ ...files(), initrd: new Uint8Array(5000) }, config);
    const [difference, ...more] = compareMeasurements(expected, got);
    assert.equal(more.length, 0);
    assert.equal(difference?.register, "RTMR2");
    assert.equal(difference?.expected, toHex(expected.rtmr2));
    assert.equal(difference?.got, toHex(got.rtmr2));
    assert.match(difference?.hint ?? "", /initrd/);
  });
  it("notices a difference in every one of the four registers", () => {
    for (const name of ["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const) {
      const got = { ...expected, [name]: measureVm({ ...files(), initrd: new Uint8Array(9) }, config).rtmr2 };
      assert.deepEqual(compareMeasurements(expected, got).map(({ register }) => register), [name.toUpperCase()]);
    }
  });
  it("finds the first event of the log that differs", () => {
    const got = measureVm({ ...files(), initrd: new Uint8Array(5000) }, config);
    const [difference] = compareMeasurements(expected, got, inBootOrder(got.events), config);
    assert.match(difference?.hint ?? "", /event 2 of 2 \(initrd\)/);
  });
  it("finds the CPU count that the log's tables fit", () => {
    const got = measureVm(files(), vmConfig({ cpu_count: 4 }));
    const [difference] = compareMeasurements(expected, got, inBootOrder(got.events), config);
    assert.match(difference?.hint ?? "", /event 9 of 13 \(etc\/table-loader\): expected 2 CPUs, the log fits 4/);
  });
  it("says so when a log agrees although the register differs", () => {
    const got = { ...expected, rtmr0: expected.rtmr1 };
    const [difference] = compareMeasurements(expected, got, inBootOrder(expected.events), config);
    assert.match(difference?.hint ?? "", /does not belong to this quote/);
  });
  it("does without a log whose digests were stripped", () => {
    const got = { ...expected, rtmr0: expected.rtmr1 };
    const [difference] = compareMeasurements(expected, got, [{ imr: 0, eventType: 4, digest: new Uint8Array(0) }], config);
    assert.match(difference?.hint ?? "", /^RTMR0 covers/);
  });
});
