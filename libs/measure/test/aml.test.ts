import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex } from "@dstack/bytes";
import {
  buffer,
  eisaId,
  field,
  fieldAccess,
  fieldUpdate,
  integer,
  interrupts,
  irq,
  method,
  namePath,
  packageOf,
  scope,
  serializedMethod,
  text,
  uuid,
} from "../src/acpi/aml.ts";

describe("AML", () => {
  for (const [value, hex] of [
    [0, "00"],
    [1, "01"],
    [2, "0a02"],
    [0xff, "0aff"],
    [0x100, "0b0001"],
    [0xffff, "0bffff"],
    [0x1_0000, "0c00000100"],
    [0xffff_ffff, "0cffffffff"],
  ] as const) {
    it(`writes the integer ${value} in its shortest form`, () => assert.equal(toHex(integer(value)), hex));
  }
  for (const [path, hex] of [
    ["A", "415f5f5f"],
    ["\\", "5c00"],
    ["\\_SB", "5c5f53425f"],
    ["^^ABCD", "5e5e41424344"],
    ["A.B", "2e415f5f5f425f5f5f"],
    ["\\_SB.PCI0.PRES.CPLK", "5c2f045f53425f504349305052455343504c4b"],
    ["", "00"],
  ] as const) {
    it(`writes the name ${path}`, () => assert.equal(toHex(namePath(path)), hex));
  }
  for (const [content, lead] of [
    [60, "113f"],
    [61, "114104"],
    [0xffd - 3, "114fff"],
    [0xffe - 3, "11810001"],
    [0xffffc - 5, "118fffff"],
    [0xffffd - 5, "11c1000001"],
  ] as const) {
    it(`counts the length of a buffer of ${content} bytes with itself`, () => {
      assert.equal(toHex(buffer(new Uint8Array(content)).subarray(0, lead.length / 2)), lead);
    });
  }
  it("writes identifiers and texts", () => {
    assert.equal(toHex(eisaId("PNP0A08")), "0c41d00a08");
    assert.equal(toHex(text("ab")), "0d616200");
    assert.equal(toHex(uuid("33db4d5b-1ff7-401c-9657-7441c03dd766")), "11130a105b4ddb33f71f1c4096577441c03dd766");
  });
  it("writes methods, fields, packages and interrupts", () => {
    assert.equal(toHex(method("_PIC", 1)), "14065f50494301");
    assert.equal(toHex(serializedMethod("_INI", 0)), "14065f494e4908");
    assert.equal(toHex(scope("\\", integer(0))), "10045c0000");
    assert.equal(toHex(packageOf(1, text(""))), "120502010d00");
    assert.equal(
      toHex(field("PRST", { access: fieldAccess.dword, update: fieldUpdate.writeAsZeros }, ["", 32], ["CSEL", 3])),
      "5b810d505253544300204353454c03",
    );
    assert.equal(toHex(irq(12)), "220010");
    assert.equal(toHex(irq(4, 0x18)), "23100018");
    assert.equal(toHex(interrupts(9, 5, 10)), "890a000902050000000a000000");
  });
});
