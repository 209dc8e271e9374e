import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex } from "@dstack/bytes";
import { MeasureError } from "../src/errors.ts";
import { RELEASED_CONFIGURATION } from "../src/firmware-events.ts";
import { measureVm } from "../src/measure-vm.ts";
import type { VmFiles } from "../src/measure-vm.ts";
import { replayRtmr } from "../src/rtmr.ts";
import { files, firmwareFixture, kernelFixture, sections, vmConfig } from "./fixtures.ts";

/** The events with the configuration volume of the released firmware, which tests do not have. */
const withReleasedFirmware = (measured: ReturnType<typeof measureVm>) =>
  measured.events.imr0.map((event, i) => (i === 1 ? { ...event, digest: RELEASED_CONFIGURATION.digest } : event));

const changed = (change: Partial<VmFiles>, config: Record<string, unknown> = {}) => {
  const base = measureVm(files(), vmConfig());
  const other = measureVm({ ...files(), ...change }, vmConfig(config));
  return (["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const).filter((name) => toHex(base[name]) !== toHex(other[name]));
};
const flipped = (bytes: Uint8Array, at: number) => {
  const other = bytes.slice();
  other[at]! ^= 1;
  return other;
};

describe("measureVm", () => {
  it("gives RTMR0 of the reference's own baseline: 1 CPU, 2 GiB, PIC on, QEMU 9.1", () => {
    const measured = measureVm(files(), vmConfig({ cpu_count: 1, pic: true, qemu_version: "9.1.0" }));
    assert.equal(
      toHex(replayRtmr(withReleasedFirmware(measured))),
      "68102e7b524af310f7b7d426ce75481e36c40f5d513a9009c046e9d37e31551f0134d954b496a3357fd61d03f07ffe96",
    );
  });
  it("changes RTMR2 only with one bit of the initrd", () =>
    assert.deepEqual(changed({ initrd: flipped(files().initrd, 2500) }), ["rtmr2"]));
  it("changes RTMR1 and RTMR2 with the initrd's length, which QEMU writes into the kernel", () =>
    assert.deepEqual(changed({ initrd: files().initrd.slice(1) }), ["rtmr1", "rtmr2"]));
  it("changes RTMR2 only with the command line", () =>
    assert.deepEqual(changed({ cmdline: `${files().cmdline} dstack.storage_fs=none` }), ["rtmr2"]));
  it("changes RTMR1 only with one bit of the kernel", () =>
    assert.deepEqual(changed({ kernel: flipped(kernelFixture(), 0x1800) }), ["rtmr1"]));
  it("changes MRTD only with one bit of the firmware's code (SECURITY 00)", () =>
    assert.deepEqual(changed({ firmware: flipped(firmwareFixture(), sections[0]!.offset + 7) }), ["mrtd"]));
  it("changes RTMR0 only with one bit of the firmware's configuration volume", () =>
    assert.deepEqual(changed({ firmware: flipped(firmwareFixture(), 7) }), ["rtmr0"]));
  it("changes RTMR0 only with the CPU count, PIC, hotplug, window size or devices", () => {
    for (const change of [
      { cpu_count: 3 },
      { pic: true },
      { hotplug_off: true },
      { pci_hole64_size: 2 ** 40 },
      { num_nics: 2 },
      { num_verity_volumes: 1 },
      { hugepages: true },
      { qemu_version: "11.0.0" },
    ]) {
      assert.deepEqual(changed({}, change), ["rtmr0"], JSON.stringify(change));
    }
  });
  it("changes RTMR0 with more memory, and RTMR1 too where the initrd moves", () => {
    assert.deepEqual(changed({}, { memory_size: 4 * 2 ** 30 }), ["rtmr0"]);
    assert.deepEqual(changed({}, { memory_size: 2 ** 30 }), ["rtmr0", "rtmr1"]);
  });
  it("changes MRTD only with the way pages are added, true meaning two passes", () => {
    assert.deepEqual(changed({}, { qemu_single_pass_add_pages: true }), ["mrtd"]);
    assert.deepEqual(changed({}, { qemu_single_pass_add_pages: false }), []);
    const twoPass = measureVm(files(), vmConfig({ qemu_version: "8.2.0" }));
    assert.deepEqual(twoPass.mrtd, measureVm(files(), vmConfig({ qemu_single_pass_add_pages: true })).mrtd);
  });
  it("does not change with fields that only name or describe", () => {
    assert.deepEqual(
      changed({}, { image: "x", host_share_mode: "vvfat", os_image_hash: "00".repeat(32), spec_version: 7 }),
      [],
    );
  });
  it("refuses a firmware layout that it does not know", () => {
    assert.throws(
      () => measureVm(files(), vmConfig({ ovmf_variant: "stable202506" })),
      (error) => error instanceof MeasureError && error.code === "unsupported",
    );
  });
});
