import assert from "node:assert/strict";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { toHex } from "@dstack/bytes";
import { measureVm } from "../src/measure-vm.ts";
import type { VmFiles } from "../src/measure-vm.ts";
import type { TcgEvent } from "../src/rtmr.ts";
import { vmConfig } from "./fixtures.ts";
import { findQemu } from "./qtest.ts";
import { findSwtpm, witnessBoot } from "./tpm-witness.ts";
import type { WitnessedEvent } from "./tpm-witness.ts";

const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack/images");
const [metadataFile] = existsSync(cache) ? globSync(join(cache, "dstack-*/metadata.json")) : [];
const qemu = findQemu();
const swtpm = findSwtpm();
const skip =
  metadataFile === undefined
    ? `no built image in ${cache}`
    : qemu === undefined
      ? "no QEMU at hand: set DSTACK_QEMU"
      : swtpm === undefined
        ? "no swtpm on PATH"
        : false;

describe("the log that the image's firmware and kernel write to a TPM", { skip }, () => {
  const image = dirname(metadataFile ?? "");
  const read = (name: string) => new Uint8Array(readFileSync(join(image, name)));
  let work = "";
  let files: VmFiles;
  let log: readonly WitnessedEvent[] = [];
  before(async () => {
    work = mkdtempSync(join(tmpdir(), "dstack-tpm-"));
    const { cmdline } = JSON.parse(readFileSync(metadataFile!, "utf8")) as { cmdline: string };
    files = { firmware: read("ovmf.fd"), kernel: read("bzImage"), initrd: read("initramfs.cpio.gz"), cmdline };
    log = await witnessBoot({ qemu: qemu!.program, swtpm: swtpm!, image, cmdline, work });
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  const witnessed = ({ eventType, digest }: TcgEvent) =>
    log.find((event) => event.eventType === eventType && toHex(event.digest) === toHex(digest));
  const measured = (change: Partial<VmFiles> = {}, kernelHeader: "patched" | "as in the file" = "as in the file") => {
    const { imr0, imr1, imr2 } = measureVm({ ...files, ...change }, vmConfig(), { kernelHeader }).events;
    return [...imr0, ...imr1, ...imr2];
  };

  it("has every event of RTMR0 to RTMR2 but those that only a TDX machine of this shape has", () => {
    const missing = measured()
      .filter((event) => witnessed(event) === undefined)
      .map(({ label }) => label);
    // Without TDX there is no HOB and the settings are not measured; a machine with a TPM has a table more.
    assert.deepEqual(missing, [
      "TD HOB",
      "firmware configuration volume",
      "etc/table-loader",
      "etc/acpi/rsdp",
      "etc/acpi/tables",
    ]);
  });
  it("describes them with the same event data, but for where the kernel was loaded", () => {
    const location = 8;
    for (const event of measured()) {
      const other = witnessed(event);
      if (other === undefined) continue;
      const own = event.label === "kernel" ? location : 0;
      assert.equal(toHex(event.data.subarray(own)), toHex(other.data.subarray(own)), event.label);
    }
  });
  it("has them in the same order within a register", () => {
    const order = measured().flatMap((event) => witnessed(event) ?? []);
    for (const pcr of [4, 7, 9]) {
      const own = [...new Set(order.filter((event) => event.pcr === pcr && event.eventType !== 4))];
      assert.deepEqual(
        own,
        log.filter((event) => own.includes(event)),
        `PCR ${pcr}`,
      );
    }
  });
  it("has no other kernel, command line or initrd", () => {
    const flipped = (bytes: Uint8Array) => bytes.map((byte, i) => (i === bytes.length >> 1 ? byte ^ 1 : byte));
    for (const [label, change] of [
      ["kernel", { kernel: flipped(files.kernel) }],
      ["kernel command line", { cmdline: `${files.cmdline} x` }],
      ["initrd", { initrd: flipped(files.initrd) }],
    ] as const) {
      assert.equal(witnessed(measured(change).find((event) => event.label === label)!), undefined, label);
    }
  });
  it(
    "has the kernel as it is in the file, because QEMU 10 and this firmware pass it on so",
    { skip: Number.parseInt(qemu?.version ?? "", 10) < 10 },
    () => {
      assert.equal(witnessed(measured({}, "patched").find(({ label }) => label === "kernel")!), undefined);
    },
  );
});
