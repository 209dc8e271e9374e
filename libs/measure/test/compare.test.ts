import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex } from "@dstack/bytes";
import { inBootOrder } from "../src/ccel.ts";
import { checkVm, compareMeasurements } from "../src/compare.ts";
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
  it("notices a difference in every one of the four registers (SECURITY 00)", () => {
    for (const name of ["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const) {
      const got = { ...expected, [name]: measureVm({ ...files(), initrd: new Uint8Array(9) }, config).rtmr2 };
      assert.deepEqual(
        compareMeasurements(expected, got).map(({ register }) => register),
        [name.toUpperCase()],
      );
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
  it("tries up to 32 CPUs", () => {
    const hint = (cpu_count: number) => {
      const got = measureVm(files(), vmConfig({ cpu_count }));
      return compareMeasurements(expected, got, inBootOrder(got.events), config)[0]?.hint ?? "";
    };
    assert.match(hint(32), /the log fits 32/);
    assert.doesNotMatch(hint(33), /the log fits/);
    assert.match(hint(33), /event 9 of 13 \(etc\/table-loader\); RTMR0 covers/);
  });
  it("does not offer the configured CPU count for tables in another order", () => {
    const events = expected.events.imr0.toSpliced(8, 2, expected.events.imr0[9]!, expected.events.imr0[8]!);
    const [difference] = compareMeasurements(expected, { ...expected, rtmr0: expected.rtmr1 }, events, config);
    assert.doesNotMatch(difference?.hint ?? "", /the log fits/);
  });
  it("names the first event that a log lacks, and a log with more events", () => {
    const differing = { ...expected, rtmr0: expected.rtmr1 };
    const hint = (log: typeof expected.events.imr0) =>
      compareMeasurements(expected, differing, log, config)[0]?.hint ?? "";
    assert.match(hint(expected.events.imr0.slice(0, 12)), /event 13 of 13 \(variable Boot0000\); RTMR0 covers/);
    assert.match(hint([...expected.events.imr0, expected.events.imr0[0]!]), /the log has more events than expected/);
  });
  it("says so when a log agrees although the register differs", () => {
    const got = { ...expected, rtmr0: expected.rtmr1 };
    const [difference] = compareMeasurements(expected, got, inBootOrder(expected.events), config);
    assert.match(difference?.hint ?? "", /does not belong to this quote/);
  });
  it("does without a log whose digests were stripped", () => {
    const got = { ...expected, rtmr0: expected.rtmr1 };
    const [difference] = compareMeasurements(
      expected,
      got,
      [{ imr: 0, eventType: 4, digest: new Uint8Array(0) }],
      config,
    );
    assert.match(difference?.hint ?? "", /^RTMR0 covers/);
  });
});

describe("checkVm", () => {
  const asInTheFile = measureVm(files(), config, { kernelHeader: "as in the file" });
  it("finds no difference to the registers of the same image", () => {
    const { differences, kernelHeader } = checkVm(files(), config, expected, inBootOrder(expected.events));
    assert.deepEqual([differences, kernelHeader], [[], "patched"]);
  });
  it("takes the kernel as it is in the file from QEMU 10 on, and gives the registers that it took", () => {
    const checked = checkVm(files(), config, asInTheFile, inBootOrder(asInTheFile.events));
    assert.deepEqual([checked.differences, checked.kernelHeader], [[], "as in the file"]);
    assert.deepEqual(checked.expected, asInTheFile);
  });
  it("takes only QEMU's header from a QEMU before 10", () => {
    const older = vmConfig({ qemu_version: "9.2.1" });
    const got = measureVm(files(), older, { kernelHeader: "as in the file" });
    assert.deepEqual(
      checkVm(files(), older, got).differences.map(({ register }) => register),
      ["RTMR1"],
    );
  });
  it("refuses another kernel in either form", () => {
    const kernel = files().kernel;
    kernel[0x1800]! ^= 1;
    for (const kernelHeader of ["patched", "as in the file"] as const) {
      const got = measureVm({ ...files(), kernel }, config, { kernelHeader });
      assert.deepEqual(
        checkVm(files(), config, got).differences.map(({ register }) => register),
        ["RTMR1"],
      );
    }
  });
  it("keeps the other differences when it takes the kernel of the file", () => {
    const got = measureVm({ ...files(), cmdline: "x" }, config, { kernelHeader: "as in the file" });
    assert.deepEqual(
      checkVm(files(), config, got).differences.map(({ register }) => register),
      ["RTMR2"],
    );
  });
});
