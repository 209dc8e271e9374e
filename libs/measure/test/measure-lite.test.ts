import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hash32, parseHex, toHex, utf8 } from "@dstack/bytes";
import { encode } from "cborg";
import type { LoggedEvent } from "../src/compare.ts";
import { MeasureError } from "../src/errors.ts";
import type { MeasureErrorCode } from "../src/errors.ts";
import { acpiEvents, measureLite } from "../src/measure-lite.ts";
import { measureVm } from "../src/measure-vm.ts";
import { sha256 } from "../src/sha.ts";
import { tdxMeasurementCbor } from "../src/tdx-measurement.ts";
import { files, vmConfig } from "./fixtures.ts";

/** Image digests, ACPI digests and registers of one real machine: 2 CPUs, 2 GiB, QEMU 8.2.2. */
const real = {
  kernel: "ac7e632dcf5cd2a1fe5c1f41f4d9b8219570e64ed3c61038fdbf25404e6f542ffd57f276bc5076307efaf882e6d64177",
  cmdline: "786280842b7364287a3a70d96f7e309252857beb45fb1f91314a2ea863db0adc04c8431ecbf29a966405604631a5aab8",
  initrd: "4fe4f7710134a61d7def357add6ac50bdbfeee5032a4c100375e207216ffe42a3bd5822b24e679f91501fff795b81521",
  acpi: [
    "095d04cf26fe03aef6e3561fa24c1aa1cea93f4aeaf563b1f9f7616184c53454875925759434769cec2490acb563a337",
    "8d9a4d4777a1bc77ecd9d8d37a4628129a80052a510320159a20a923bd07a0e90d8d1f2e1ebf088992b25f0d0fa672ef",
    "3070721e169bc41884724cb0e6b3082e1baf249083d8b389181ba50b9afa951057876c380b8870e8c2facf2eff67a2b6",
  ],
  rtmr0: "f8438db36b96f85d8752ff7f24a89ec05c79ec9eda2ba732c897fb970ca429365b7471b1c054cb84f17b1c2b23ba6640",
  rtmr1: "2023546e7f3b9d1228e274f70c44d481162540f8452544520a796a52f06879709b81a824a26792a7822327504b0d2aee",
  rtmr2: "4c1b739ed451a637b0f82642e48a5ea83925d23633c72e7385c8e9aca4175e133ed1625b7d92eb39edf509c27ff392dc",
};

const document = encode({
  version: 3,
  image: {
    cmdline_sha384: parseHex(real.cmdline),
    kernel_authenticode: parseHex(real.kernel),
    initrd_sha384: parseHex(real.initrd),
  },
  tdvf: {
    ovmf: "pre202505",
    mrtd: { single_pass: new Uint8Array(48).fill(1), two_pass: new Uint8Array(48).fill(2) },
    td_hob: parseHex("80100904000609020b021010"),
  },
});
const bound = (measurement: Uint8Array) => {
  const checksumFile = utf8(`${toHex(sha256(measurement))}  measurement.tdx.cbor\n`);
  return { osImageHash: sha256(checksumFile), tdxMeasurement: { checksumFile, measurement } };
};
const configured = (change: Record<string, unknown> = {}, measurement: Uint8Array = document) => ({
  ...vmConfig({ qemu_version: "8.2.2", tdx_attestation_variant: "lite", ...change }),
  ...bound(measurement),
});
const logged = (names: readonly string[] = ["", "", ""]): LoggedEvent[] =>
  real.acpi.map((digest, i) => ({
    imr: 0,
    eventType: 10,
    digest: parseHex(digest),
    event: names[i] ?? "",
    eventPayload: utf8("ACPI DATA"),
  }));

const refuses = (run: () => unknown, code: MeasureErrorCode, text: RegExp) => {
  assert.throws(run, (error) => error instanceof MeasureError && error.code === code && text.test(error.message));
};

describe("measureLite", () => {
  it("gives the registers of a real machine from its document and log", () => {
    const measured = measureLite(configured(), logged());
    assert.deepEqual([measured.rtmr0, measured.rtmr1, measured.rtmr2].map(toHex), [real.rtmr0, real.rtmr1, real.rtmr2]);
  });
  it("gives the same with the tables that are computed for it, and so without the guest's log", () => {
    const computed = acpiEvents(configured());
    assert.deepEqual(
      computed.map(({ digest }) => toHex(digest)),
      real.acpi,
    );
    assert.deepEqual(measureLite(configured(), computed), measureLite(configured(), logged()));
    refuses(() => acpiEvents(configured({ swtpm: true })), "unsupported", /swtpm/);
  });
  it("takes MRTD for the passes of the QEMU version, or as the configuration says", () => {
    const first = (change: Record<string, unknown>) => measureLite(configured(change), logged()).mrtd[0];
    assert.equal(first({}), 2);
    assert.equal(first({ qemu_version: "9.1.0" }), 1);
    assert.equal(first({ qemu_single_pass_add_pages: false }), 1);
    assert.equal(first({ qemu_version: "9.1.0", qemu_single_pass_add_pages: true }), 2);
  });
  it("gives what the full measurement of the same image gives, but for the firmware's configuration volume", () => {
    for (const memory_size of [2 ** 31, 0xb000_0000, 2 ** 36]) {
      const config = { ...vmConfig({ memory_size }), ...bound(tdxMeasurementCbor(files())) };
      const full = measureVm(files(), config);
      const lite = measureLite(config, full.events.imr0);
      assert.deepEqual([lite.mrtd, lite.rtmr1, lite.rtmr2], [full.mrtd, full.rtmr1, full.rtmr2]);
      const differing = lite.events.imr0.flatMap(({ digest, label }, i) =>
        toHex(digest) === toHex(full.events.imr0[i]!.digest) ? [] : [label],
      );
      assert.deepEqual(differing, ["firmware configuration volume"]);
    }
  });
  it("reads logs with and without the names of newer agents", () => {
    const expected = measureLite(configured(), logged());
    assert.deepEqual(measureLite(configured(), logged(["acpi-loader", "acpi-rsdp", "acpi-tables"])), expected);
    const bare = logged().map(({ imr, eventType, digest }) => ({ imr, eventType, digest }));
    assert.deepEqual(measureLite(configured(), bare), expected);
  });
  it("uses nothing of a log but register 0's events with ACPI data", () => {
    const noise = [3, 1].map((imr) => ({ imr, eventType: 10, digest: new Uint8Array(48) }));
    const other = { imr: 0, eventType: 4, digest: new Uint8Array(48) };
    assert.deepEqual(measureLite(configured(), [...noise, ...logged(), other]), measureLite(configured(), logged()));
  });
  it("refuses a log with fewer or more ACPI events", () => {
    refuses(
      () => measureLite(configured(), logged().slice(1)),
      "event-log-unusable",
      /three ACPI events in register 0, got 2/,
    );
    refuses(() => measureLite(configured(), [...logged(), ...logged().slice(2)]), "event-log-unusable", /got 4/);
    refuses(() => measureLite(configured(), []), "event-log-unusable", /got 0/);
  });
  it("refuses ACPI events in another order, with other data or without a digest", () => {
    refuses(
      () => measureLite(configured(), logged(["acpi-loader", "acpi-tables", "acpi-rsdp"])),
      "event-log-unusable",
      /acpi-rsdp, got "acpi-tables"/,
    );
    const changed = (change: Partial<LoggedEvent>) =>
      logged().map((event, i) => (i === 2 ? { ...event, ...change } : event));
    refuses(
      () => measureLite(configured(), changed({ eventPayload: utf8("ACPI DATB") })),
      "event-log-unusable",
      /ACPI DATA .*acpi-tables/,
    );
    refuses(
      () => measureLite(configured(), changed({ digest: new Uint8Array(0) })),
      "event-log-unusable",
      /48 bytes .*acpi-tables, got 0/,
    );
  });
  it("refuses a document that is missing or belongs to another image", () => {
    const { tdxMeasurement, osImageHash, ...bare } = configured();
    refuses(() => measureLite({ ...bare, tdxMeasurement }, logged()), "material-unbound", /os_image_hash/);
    refuses(
      () => measureLite({ ...bare, osImageHash }, logged()),
      "material-unbound",
      /requires vm_config.tdx_measurement/,
    );
    refuses(
      () => measureLite({ ...configured(), osImageHash: hash32(new Uint8Array(32)) }, logged()),
      "material-unbound",
      /does not match os_image_hash: checksum_file/,
    );
    const swapped = { ...tdxMeasurement, measurement: tdxMeasurementCbor(files()) };
    refuses(
      () => measureLite({ ...configured(), tdxMeasurement: swapped }, logged()),
      "material-unbound",
      /measurement: expected SHA-256/,
    );
  });
  it("refuses memory for which the document has no kernel digest", () => {
    for (const memory_size of [2 ** 30, 2 ** 31 - 4096, 2 ** 31 + 4096, 0xb000_0000 - 4096]) {
      refuses(
        () => measureLite(configured({ memory_size }), logged()),
        "unsupported",
        /memory_size: expected 2147483648 or at least 2952790016/,
      );
    }
  });
  it("refuses the firmware that documents do not describe", () => {
    refuses(() => measureLite(configured({ ovmf_variant: "stable202505" }), logged()), "unsupported", /ovmf_variant/);
  });
  it("refuses a document that it cannot read, although it is bound", () => {
    refuses(() => measureLite(configured({}, new Uint8Array(3)), logged()), "measurement-document-invalid", /CBOR|map/);
  });
});
