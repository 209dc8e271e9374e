import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { toHex } from "@dstack/bytes";
import { encodeVmConfig, measureVm, type VmConfig } from "@dstack/measure";
import { files, vmConfig } from "../../libs/measure/test/fixtures.ts";
import { vmConfigOf } from "../src/measure/measure.ts";
import type { MrMeasureOptions } from "../src/measure/options.ts";
import { CliError } from "../src/terminal/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "dstack-mr-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const main = join(import.meta.dirname, "../src/main.ts");
/** One command line in a process of its own: what a script sees. */
function dstack(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

const sha256 = (content: Uint8Array | string): string => createHash("sha256").update(content).digest("hex");

const { firmware, kernel, initrd, cmdline } = files();
const metadata = JSON.stringify({
  bios: "ovmf.fd",
  kernel: "bzImage",
  initrd: "initramfs.cpio.gz",
  cmdline,
  version: "0.6.0",
});
const contents: readonly [string, Uint8Array | string][] = [
  ["ovmf.fd", firmware],
  ["bzImage", kernel],
  ["initramfs.cpio.gz", initrd],
  ["metadata.json", metadata],
];
const checksums = contents.map(([file, content]) => `${sha256(content)}  ${file}\n`).join("");
const imageHash = sha256(checksums);
const image = join(folder, "images", "dstack-0.6.0");
mkdirSync(image, { recursive: true });
for (const [file, content] of [...contents, ["sha256sum.txt", checksums] as const])
  writeFileSync(join(image, file), content);

const expected = (config: VmConfig): Record<string, string> => {
  const { mrtd, rtmr0, rtmr1, rtmr2 } = measureVm(files(), config);
  return { mrtd: toHex(mrtd), rtmr0: toHex(rtmr0), rtmr1: toHex(rtmr1), rtmr2: toHex(rtmr2) };
};

describe("dstack mr", () => {
  test("prints the registers as the reference's tool does, and the image's hash", () => {
    const { mrtd, rtmr0, rtmr1, rtmr2 } = expected(vmConfig());
    assert.deepEqual(dstack("mr", "--image", image, "--vcpu", "2", "--memory", "2G", "--qemu-version", "10.0.2"), {
      status: 0,
      stdout: `Machine measurements:\nMRTD: ${mrtd}\nRTMR0: ${rtmr0}\nRTMR1: ${rtmr1}\nRTMR2: ${rtmr2}\nOS image hash: ${imageHash}\n`,
      stderr: "",
    });
  });
  test("takes the reference's options and the path of metadata.json, and prints JSON", () => {
    const { status, stdout } = dstack(
      "mr",
      "measure",
      "-c",
      "2",
      "-m",
      "0x80000000",
      "--pic",
      "true",
      "--two-pass-add-pages",
      "true",
      "--num-nics",
      "2",
      "--json",
      join(image, "metadata.json"),
    );
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(stdout), {
      ...expected(vmConfig({ qemu_version: "9.1.0", pic: true, qemu_single_pass_add_pages: true, num_nics: 2 })),
      os_image_hash: imageHash,
    });
  });
  test("names a file that is not the image's, with exit code 3", () => {
    const broken = join(folder, "broken");
    cpSync(image, broken, { recursive: true });
    writeFileSync(join(broken, "bzImage"), new Uint8Array(8192));
    const { status, stderr, stdout } = dstack("mr", "--image", broken);
    assert.deepEqual([status, stdout], [3, ""]);
    assert.match(stderr, /bzImage is not the image's: sha256sum\.txt expects/);
  });
  test("names an image that is not there (4), a machine that has no tables (1) and options that are none (2)", () => {
    const results = [
      ["--image", join(folder, "nowhere")],
      ["--image", image, "--num-gpus", "1"],
      ["--image", image, "--memory", "2X"],
    ].map((args) => dstack("mr", ...args));
    assert.deepEqual(
      results.map(({ status }) => status),
      [4, 1, 2],
    );
    assert.match(results.map(({ stderr }) => stderr).join(""), /nowhere[^]*set hotplug_off[^]*--memory 2X/);
  });

  const options: MrMeasureOptions = {
    memory: "2G",
    numGpus: "0",
    numNvswitches: "0",
    numNics: "1",
    numVerityVolumes: "0",
    rootVerity: "true",
    output: "text",
  };
  test("has the reference's defaults: one CPU, 2 GiB, a NIC, nothing that the QEMU version decides", () => {
    assert.deepEqual(vmConfigOf(options), {
      cpuCount: 1,
      memoryBytes: 2 ** 31,
      pciHole64Bytes: 0,
      hugepages: false,
      numGpus: 0,
      numNvswitches: 0,
      numNics: 1,
      numVerityVolumes: 0,
      swtpm: false,
      hotplugOff: false,
      attestationVariant: "legacy",
    });
  });
  test("hands every option on", () => {
    const all = vmConfigOf({
      ...options,
      vcpu: "3",
      memory: "1024M",
      twoPassAddPages: "false",
      pic: "false",
      hugepages: true,
      hotplugOff: true,
      pciHole64Size: "1T",
      numGpus: "4",
      numNvswitches: "5",
      numNics: "6",
      numVerityVolumes: "7",
      qemuVersion: "11.0.0",
      dstackOsVersion: "0.5.10",
      swtpm: true,
    });
    assert.deepEqual(all, {
      cpuCount: 3,
      memoryBytes: 2 ** 30,
      twoPassAddPages: false,
      pic: false,
      qemuVersion: "11.0.0",
      pciHole64Bytes: 2 ** 40,
      hugepages: true,
      numGpus: 4,
      numNvswitches: 5,
      numNics: 6,
      numVerityVolumes: 7,
      swtpm: true,
      hotplugOff: true,
      ovmfVariant: "stable202505",
      attestationVariant: "legacy",
    });
    assert.equal(vmConfigOf({ ...options, dstackOsVersion: "0.5.11" }).ovmfVariant, undefined);
  });
  test("refuses numbers that are none, and a CPU count given twice", () => {
    for (const change of [
      { vcpu: "-1" },
      { vcpu: "two" },
      { numGpus: "1e3" },
      { cpu: "1", vcpu: "2" },
      { memory: "" },
      { memory: "99999999T" },
      { pciHole64Size: "x" },
    ]) {
      assert.throws(
        () => vmConfigOf({ ...options, ...change }),
        (error) => error instanceof CliError && error.code === "usage",
        JSON.stringify(change),
      );
    }
  });
});

describe("dstack mr diagnose", () => {
  const config = vmConfig({ os_image_hash: imageHash });
  const configFile = join(folder, "vm_config.json");
  writeFileSync(configFile, encodeVmConfig(config));
  const { mrtd, rtmr0, rtmr1, rtmr2 } = expected(config) as Record<"mrtd" | "rtmr0" | "rtmr1" | "rtmr2", string>;

  test("agrees with a quote of that VM, and finds the image by its hash", () => {
    const { status, stdout } = dstack(
      "mr",
      "diagnose",
      "--vm-config",
      configFile,
      "--image-base-dir",
      join(folder, "images"),
      "--actual-mrtd",
      mrtd,
      "--actual-rtmr0",
      rtmr0,
      "--actual-rtmr1",
      rtmr1,
      "--actual-rtmr2",
      rtmr2,
    );
    assert.deepEqual([status, stdout.trimEnd().split("\n").at(-1)], [0, "MRTD, RTMR0, RTMR1, RTMR2: as expected"]);
  });
  test("names the register and the event that differ, with exit code 3", () => {
    const other = measureVm(files(), vmConfig({ cpu_count: 4 }));
    const log = other.events.imr0.map(({ imr, eventType, digest }) => ({
      imr,
      event_type: eventType,
      digest: toHex(digest),
      event: "",
      event_payload: "",
    }));
    const logFile = join(folder, "event_log.json");
    writeFileSync(logFile, JSON.stringify(log));
    const { status, stdout } = dstack(
      "mr",
      "diagnose",
      "--vm-config",
      configFile,
      "--image-dir",
      image,
      "--actual-rtmr0",
      toHex(other.rtmr0),
      "--actual-event-log",
      logFile,
      "--json",
    );
    assert.equal(status, 3);
    const result = JSON.parse(stdout) as {
      ok: boolean;
      compared: string[];
      differences: { register: string; hint: string }[];
      rtmr0_events: { matches: boolean }[];
    };
    assert.deepEqual(
      [result.ok, result.compared, result.differences.map(({ register }) => register)],
      [false, ["rtmr0"], ["RTMR0"]],
    );
    assert.match(result.differences[0]?.hint ?? "", /expected 2 CPUs, the log fits 4/);
    assert.deepEqual(
      result.rtmr0_events.flatMap(({ matches }, i) => (matches ? [] : [i + 1])),
      [9, 10, 11],
    );
  });
  test("says so when the image is another one", () => {
    writeFileSync(configFile, encodeVmConfig(vmConfig({ os_image_hash: "00".repeat(32) })));
    const { status, stdout } = dstack("mr", "diagnose", "--vm-config", configFile, "--image-dir", image);
    assert.equal(status, 3);
    assert.match(stdout, /the image's hash is [0-9a-f]{64}, the VM configuration names 0{64}/);
  });
});
