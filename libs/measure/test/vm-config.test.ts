import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MeasureError } from "../src/errors.ts";
import { encodeVmConfig, parseVmConfig } from "../src/vm-config.ts";
import { recordedTest } from "../../../tests/vectors/vector-sets.ts";

const refuses = (text: string, about: RegExp) => {
  assert.throws(
    () => parseVmConfig(text),
    (error) => error instanceof MeasureError && error.code === "vm-config-invalid" && about.test(error.message),
  );
};

describe("parseVmConfig", () => {
  it("takes every key as optional", () => {
    assert.deepEqual(parseVmConfig("{}"), {
      cpuCount: 0,
      memoryBytes: 0,
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
  it("ignores keys that it does not know, and inherited ones", () => {
    assert.deepEqual(parseVmConfig('{"aws_pcr_replay":[1],"__proto__":{"cpu_count":7}}'), parseVmConfig("{}"));
  });
  recordedTest("reads the configuration of a real GPU machine", ({ json }) => {
    const config = parseVmConfig(json<{ vm_config: string }>("attestation/verifier/quote-report.json").vm_config);
    assert.equal(config.cpuCount, 16);
    assert.equal(config.memoryBytes, 68_719_476_736);
    assert.equal(config.pciHole64Bytes, 17_592_186_044_416);
    assert.equal(config.twoPassAddPages, false);
    assert.equal(config.qemuVersion, "9.2.1");
  });
  it("reads measurement material as an object and as a string that holds it", () => {
    const inner = { checksum_file: "YWI=", measurement: "AAE=" };
    const expected = { checksumFile: Uint8Array.of(0x61, 0x62), measurement: Uint8Array.of(0, 1) };
    for (const value of [inner, JSON.stringify(inner)]) {
      assert.deepEqual(parseVmConfig(JSON.stringify({ tdx_measurement: value })).tdxMeasurement, expected);
    }
  });
  it("takes null for an absent optional value", () => {
    assert.deepEqual(parseVmConfig('{"pic":null,"qemu_version":null,"tdx_measurement":null}'), parseVmConfig("{}"));
  });
  it("refuses what is not a JSON object", () => {
    for (const text of ["", "{", "[]", "1", "null", "{}{}"]) refuses(text, /vm_config text/);
  });
  it("refuses numbers that are negative, broken, too large or text", () => {
    for (const value of ["-1", "1.5", "1e400", "4294967296", '"2"', "null"])
      refuses(`{"cpu_count":${value}}`, /cpu_count/);
    refuses('{"memory_size":9007199254740993}', /memory_size/);
  });
  it("refuses a key that comes twice, however it is spelled and wherever it is", () => {
    refuses('{"cpu_count":2,"cpu_count":2}', /cpu_count: expected one value/);
    refuses('{"cpu_count":2,"memory_size":1,"cpu\\u005fcount":4}', /cpu_count/);
    refuses('{"unknown":{"a":1,"b":[{}],"a":2}}', /vm_config a/);
    refuses(
      '{"tdx_measurement":"{\\"measurement\\":\\"\\",\\"measurement\\":\\"\\",\\"checksum_file\\":\\"\\"}"}',
      /measurement/,
    );
  });
  it("refuses a repeated key after an inner object and before white space", () => {
    refuses('{"a":{"b":1},"c":[{"a":1}],"a" \n\t\r:2}', /vm_config a/);
  });
  it("takes the same key in different objects, and keys as values", () => {
    const text =
      '{"image":"image","a":[{"image":1},{"image":2}],"b":{"image":["x","x",{"c":{}}],"a":"{\\"a\\":1,\\"a\\":2}"},"c":1}';
    assert.equal(parseVmConfig(text).image, "image");
    assert.equal(parseVmConfig(`{"image":"${'\\"x'.repeat(60_000)}","memory_size":5}`).memoryBytes, 5);
  });
  it("refuses an image hash of another length", () => {
    refuses('{"os_image_hash":"abcd"}', /os_image_hash/);
    assert.equal(parseVmConfig('{"os_image_hash":""}').osImageHash, undefined);
  });
  it("refuses hex with a prefix", () => refuses(`{"os_image_hash":"0x${"ab".repeat(32)}"}`, /os_image_hash/));
  it("refuses numbers that are not written as integers", () => {
    for (const spelled of ["2.0", "2e0", "-0", "1.5"]) refuses(`{"cpu_count":${spelled}}`, /cpu_count: .*got a number/);
  });
  it("refuses null where the reference's readers know no null, and takes it where they do", () => {
    for (const key of ["hugepages", "swtpm", "hotplug_off", "host_share_mode", "os_image_hash", "cpu_count"])
      refuses(`{"${key}":null}`, new RegExp(`${key}: expected .*, got null`));
    refuses('{"tdx_attestation_variant":null}', /got null/);
    for (const key of ["pic", "qemu_version", "image", "ovmf_variant", "qemu_single_pass_add_pages", "tdx_measurement"])
      assert.deepEqual(parseVmConfig(`{"${key}":null}`), parseVmConfig("{}"), key);
  });
  it("refuses an attestation variant that it does not know", () =>
    refuses('{"tdx_attestation_variant":"none"}', /tdx_attestation_variant/));
  it("refuses base64 that is not canonical", () => {
    for (const value of ["YWI", "YW I=", "YWJ=", "*"]) {
      refuses(JSON.stringify({ tdx_measurement: { checksum_file: value, measurement: "" } }), /checksum_file/);
    }
  });
  it("refuses a text of more than 256 KiB", () => refuses(`{"image":"${"x".repeat(262_144)}"}`, /262144/));
});

describe("encodeVmConfig", () => {
  it("always names version, hash, CPUs, memory, window and devices, and leaves defaults out", () => {
    assert.deepEqual(JSON.parse(encodeVmConfig(parseVmConfig('{"cpu_count":2,"memory_size":2147483648}'))), {
      os_image_hash: "",
      cpu_count: 2,
      memory_size: 2_147_483_648,
      pci_hole64_size: 0,
      hugepages: false,
      num_gpus: 0,
      num_nvswitches: 0,
      hotplug_off: false,
      spec_version: 1,
    });
  });
});
