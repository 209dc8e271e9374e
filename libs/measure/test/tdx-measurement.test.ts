import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hash32, toHex, utf8 } from "@dstack/bytes";
import { decode, encode } from "cborg";
import { MeasureError } from "../src/errors.ts";
import { measureVm } from "../src/measure-vm.ts";
import { sha256 } from "../src/sha.ts";
import { encodeTdHobWitness } from "../src/td-hob.ts";
import { checkMaterialBinding, parseTdxMeasurement, tdxMeasurementCbor } from "../src/tdx-measurement.ts";
import { files, vmConfig } from "./fixtures.ts";

const document = tdxMeasurementCbor(files());
type Plain = Record<string, Record<string, unknown>>;
const changed = (change: (plain: Plain) => void) => {
  const plain = decode(document) as Plain;
  change(plain);
  return encode(plain);
};
const refuses = (cbor: Uint8Array) => {
  assert.throws(
    () => parseTdxMeasurement(cbor),
    (error) => error instanceof MeasureError && error.code === "measurement-document-invalid",
  );
};

describe("measurement.tdx.cbor", () => {
  const parsed = parseTdxMeasurement(document);
  it("writes its keys in the order that the image hash of the reference covers", () => {
    const keys = (map: Map<unknown, unknown>): unknown[] =>
      [...map].map(([key, value]) => (value instanceof Map ? [key, keys(value)] : key));
    assert.deepEqual(keys(decode(document, { useMaps: true }) as Map<unknown, unknown>), [
      "version",
      ["image", ["cmdline_sha384", "kernel_authenticode", "initrd_sha384"]],
      ["tdvf", ["ovmf", ["mrtd", ["single_pass", "two_pass"]], "td_hob"]],
    ]);
  });
  it("holds the digests of the full measurement at 2 GiB and at 2.75 GiB", () => {
    for (const memory_size of [2 ** 31, 0xb000_0000]) {
      const measured = measureVm(files(), vmConfig({ memory_size }));
      assert.deepEqual(parsed.mrtdSinglePass, measured.mrtd);
      assert.deepEqual(parsed.kernelAuthenticode, measured.events.imr1[0]!.digest);
      assert.deepEqual(parsed.cmdlineSha384, measured.events.imr2[0]!.digest);
      assert.deepEqual(parsed.initrdSha384, measured.events.imr2[1]!.digest);
    }
    assert.deepEqual(parsed.mrtdTwoPass, measureVm(files(), vmConfig({ qemu_single_pass_add_pages: true })).mrtd);
    assert.equal(toHex(encodeTdHobWitness(parsed.tdHob)), "80100904000609020b021010");
  });
  it("reads keys in another order", () => assert.deepEqual(parseTdxMeasurement(changed(() => {})), parsed));
  it("refuses another version or firmware layout", () => {
    refuses(changed((plain) => Object.assign(plain, { version: 2 })));
    refuses(changed((plain) => (plain["tdvf"]!["ovmf"] = "other")));
  });
  it("refuses missing and unknown keys", () => {
    refuses(changed((plain) => delete plain["image"]!["initrd_sha384"]));
    refuses(changed((plain) => (plain["image"]!["more"] = 1)));
  });
  it("refuses digests of another length or type", () => {
    refuses(changed((plain) => (plain["image"]!["initrd_sha384"] = new Uint8Array(32))));
    refuses(changed((plain) => (plain["image"]!["initrd_sha384"] = "00".repeat(48))));
  });
  it("refuses trailing bytes, a cut document and a document that is too long", () => {
    refuses(Uint8Array.of(...document, 0));
    refuses(document.slice(0, -1));
    refuses(new Uint8Array(70_000));
  });
});

describe("checkMaterialBinding", () => {
  const list = (...lines: string[]) => utf8(lines.map((line) => `${line}\n`).join(""));
  const line = `${toHex(sha256(document))}  measurement.tdx.cbor`;
  const other = `${"ab".repeat(32)}  ovmf.fd`;
  const check = (checksumFile: Uint8Array, measurement = document, hash = sha256(checksumFile)) =>
    checkMaterialBinding({ checksumFile, measurement }, hash);
  const unbound = (result: ReturnType<typeof check>, reason: RegExp) => {
    assert.ok(!result.bound && reason.test(result.reason), JSON.stringify(result));
  };
  it("binds a document that the list of this image names once", () =>
    assert.deepEqual(check(list(other, line)), { bound: true }));
  it("refuses the list of another image", () =>
    unbound(check(list(other, line), document, hash32(new Uint8Array(32))), /os_image_hash/));
  it("refuses a document that the list does not name", () => unbound(check(list(other)), /exactly once, got 0/));
  it("refuses a list that names the document twice", () => unbound(check(list(line, line)), /exactly once, got 2/));
  it("refuses a document with another hash", () => unbound(check(list(line), document.slice(1)), /checksum_file/));
  it("refuses a list that is not a checksum list", () => {
    unbound(check(list("nonsense", line)), /malformed/);
    unbound(check(list(`0${line}`)), /malformed/);
    unbound(check(list(`${line} x`)), /malformed/);
    unbound(check(list(line.replace("  ", " "))), /malformed/);
    unbound(check(list(line.replace("measurement", "../measurement"))), /malformed/);
    unbound(check(Uint8Array.of(0xff)), /malformed/);
  });
});
