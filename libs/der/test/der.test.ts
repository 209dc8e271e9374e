import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHex, toHex } from "@dstack/bytes";
import {
  DerError,
  DerFields,
  derElement,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  readBitString,
  readBoolean,
  readChildren,
  readDer,
  readOid,
  readPem,
  readText,
  readTime,
  readUnsigned,
  writePem,
} from "@dstack/der";
import type { DerErrorCode } from "@dstack/der";

const at = (hex: string) => readDer(parseHex(hex));
const refuses = (code: DerErrorCode, run: () => unknown): void => {
  assert.throws(run, (error: unknown) => error instanceof DerError && error.code === code);
};

test("reads a long definite length in its shortest form", () => {
  assert.equal(at(`0481c8${"00".repeat(200)}`).content.length, 200);
});

test("refuses every length that is not DER", () => {
  refuses("length-not-definite", () => at("30800000"));
  refuses("length-not-minimal", () => at("04810100"));
  refuses("length-not-minimal", () => at(`048200c8${"00".repeat(200)}`));
  refuses("too-large", () => at("048500000000010000"));
  refuses("too-large", () => at("0484ffffffff"));
  refuses("truncated", () => at("0405aabb"));
  refuses("truncated", () => at("04"));
  refuses("truncated", () => at("0482ff"));
});

test("refuses trailing bytes and multi-octet tags", () => {
  refuses("trailing-bytes", () => at("0500ff"));
  refuses("tag-unsupported", () => at("1f8100"));
});

test("refuses children that run past their parent", () => {
  refuses("truncated", () => readChildren(at("30030405aa")));
  refuses("tag-unexpected", () => readChildren(at("0400")));
});

test("is not moved by 2000 levels of nesting", () => {
  let bytes = new Uint8Array(0);
  for (let i = 0; i < 2000; i++) bytes = new Uint8Array(derElement(0x30, bytes));
  assert.equal(readDer(bytes).tag, 0x30);
});

test("takes fields in order and refuses one too many", () => {
  const fields = new DerFields(readDer(derSequence(derUnsigned(1), derUnsigned(2))), "pair");
  assert.equal(readUnsigned(fields.take("first")), 1);
  refuses("trailing-bytes", () => fields.end());
  assert.equal(fields.takeIf(0x04), undefined);
  assert.equal(readUnsigned(fields.take("second")), 2);
  fields.end();
  refuses("truncated", () => fields.take("third"));
});

test("reads integers only in their shortest form and without sign", () => {
  assert.equal(readUnsigned(at("02020080")), 128);
  refuses("value-invalid", () => readUnsigned(at("02020001")));
  refuses("value-invalid", () => readUnsigned(at("020180")));
  refuses("value-invalid", () => readUnsigned(at("0200")));
  refuses("value-invalid", () => readUnsigned(at("02080100000000000000")));
});

test("reads booleans and bit strings strictly", () => {
  assert.equal(readBoolean(at("0101ff")), true);
  refuses("value-invalid", () => readBoolean(at("010101")));
  assert.deepEqual(readBitString(at("03020106")), { bytes: Uint8Array.of(6), unusedBits: 1 });
  refuses("value-invalid", () => readBitString(at("03020107")));
  refuses("value-invalid", () => readBitString(at("030108")));
  refuses("value-invalid", () => readBitString(at("0300")));
});

test("reads and writes object identifiers", () => {
  for (const oid of ["1.2.840.113741.1.13.1", "2.5.29.15", "1.3.6.1.4.1.62397.1.8", "2.999.3"]) {
    assert.equal(readOid(readDer(derOid(oid))), oid);
  }
  refuses("value-invalid", () => readOid(at("06028001")));
  refuses("truncated", () => readOid(at("060181")));
  refuses("value-invalid", () => derOid("3.1"));
});

test("reads and writes both time forms", () => {
  for (const seconds of [0, 1_577_836_800, Date.UTC(2049, 11, 31) / 1000, Date.UTC(2050, 0, 1) / 1000]) {
    assert.equal(readTime(readDer(derTime(seconds))), seconds);
  }
  refuses("value-invalid", () => readTime(readDer(derElement(0x17, new TextEncoder().encode("230230000000Z")))));
  refuses("value-invalid", () => readTime(readDer(derElement(0x17, new TextEncoder().encode("2301010000Z")))));
  refuses("value-invalid", () => derTime(Number.MAX_SAFE_INTEGER));
});

test("refuses strings of the wrong type and non-ASCII where ASCII is promised", () => {
  refuses("tag-unexpected", () => readText(at("0401aa")));
  refuses("value-invalid", () => readText(at("1301ff")));
});

test("sorts the members of a set", () => {
  assert.equal(toHex(derSet(derUnsigned(2), derUnsigned(1))), "3106020101020102");
});

test("reads back the PEM it writes, whatever text stands around it", () => {
  const der = derSequence(derUnsigned(7));
  const good = writePem(der, "X");
  assert.deepEqual(readPem(`text\n${good}\0`, "X"), [der]);
  assert.deepEqual(readPem(`${good.replaceAll("\n", "\r\n")}-- and --\n${good}`, "X"), [der, der]);
});

test("refuses PEM with a foreign label, without a block, and with a block that is broken in any way", () => {
  const der = derSequence(derUnsigned(7));
  refuses("value-invalid", () => readPem(writePem(der, "Y"), "X"));
  refuses("value-invalid", () => readPem("nothing", "X"));
  const good = writePem(der, "X");
  for (const broken of [
    good.replace("MAMC", "MA!MC"),
    good.replace("MAMC", "MA-MC"),
    good.replace("MAMC", "MA\u00a0MC"),
    good.replace("MAMC", "Proc-Type: 4\n\nMAMC"),
    good.replace("=", ""),
    good.replace("-----END X-----", ""),
    good.replace("-----END X-----", "-----END X----"),
    good.replace("-----BEGIN X-----", ""),
    good.replace("-----BEGIN X-----", "-----BEGIN X----"),
    good.replace("END X", "END Y"),
    "-----BEGIN X-----\n-----END X-----\n",
    "-----BEGIN X-----\n!\n-----END X-----\n",
    "-----BEGIN X-----\nAAA\n-----END X-----\n",
    "-----END X-----\n",
  ]) {
    refuses("value-invalid", () => readPem(broken, "X"));
    refuses("value-invalid", () => readPem(`${good}${broken}`, "X"));
    refuses("value-invalid", () => readPem(`${broken}${good}`, "X"));
  }
});

test("bounds what it reads of PEM and of DER", () => {
  const der = derSequence(derUnsigned(7));
  const pad = " ".repeat(1024 * 1024 - writePem(der, "X").length);
  assert.deepEqual(readPem(`${pad}${writePem(der, "X")}`, "X"), [der]);
  refuses("too-large", () => readPem(` ${pad}${writePem(der, "X")}`, "X"));
  assert.equal(readPem(writePem(der, "X").repeat(16), "X").length, 16);
  refuses("too-large", () => readPem(writePem(der, "X").repeat(17), "X"));
  const nulls = (count: number): Uint8Array =>
    derElement(
      0x30,
      new Uint8Array(2 * count).map((_, i) => (i % 2 === 0 ? 5 : 0)),
    );
  assert.equal(readChildren(readDer(nulls(65_536))).length, 65_536);
  refuses("too-large", () => readChildren(readDer(nulls(65_537))));
});
