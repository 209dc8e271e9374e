import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHex, toHex } from "@dstack/bytes";
import { MsgpackReader, packArray, packBin, packBytesAsArray, packMap, packText, packUint } from "../src/msgpack.ts";
import { none, refuses } from "./fixtures.ts";

type Read = (reader: MsgpackReader) => unknown;
const reader = (hex: string): MsgpackReader => new MsgpackReader(parseHex(hex), "thing", "attestation-malformed");
const uint: Read = (from) => from.uint(0xffff_ffff, "field");
const text: Read = (from) => from.text("field");
const bytes: Read = (from) => toHex(from.bytes("field"));
const array: Read = (from) => from.arrayLength("field");
const map: Read = (from) => from.mapLength("field");
const skip: Read = (from) => from.skip("field");

test("reads each form at the ends of its range", () => {
  const cases: readonly (readonly [Read, string, unknown])[] = [
    [uint, "00", 0],
    [uint, "7f", 127],
    [uint, "cc80", 128],
    [uint, "ccff", 255],
    [uint, "cd0100", 256],
    [uint, "cdffff", 65_535],
    [uint, "ce00010000", 65_536],
    [uint, "ceffffffff", 0xffff_ffff],
    [text, "a0", ""],
    [text, `bf${"61".repeat(31)}`, "a".repeat(31)],
    [text, `d920${"61".repeat(32)}`, "a".repeat(32)],
    [text, `d9ff${"61".repeat(255)}`, "a".repeat(255)],
    [text, `da0100${"61".repeat(256)}`, "a".repeat(256)],
    [text, `db00010000${"61".repeat(65_536)}`, "a".repeat(65_536)],
    [bytes, "c400", ""],
    [bytes, "c401ff", "ff"],
    [bytes, `c50100${"01".repeat(256)}`, "01".repeat(256)],
    [bytes, `c600010000${"01".repeat(65_536)}`, "01".repeat(65_536)],
    [bytes, "90", ""],
    [bytes, "92017f", "017f"],
    [bytes, `dc0010${"01".repeat(16)}`, "01".repeat(16)],
    [bytes, `dd00010000${"01".repeat(65_536)}`, "01".repeat(65_536)],
    [array, "90", 0],
    [array, `9f${"00".repeat(15)}`, 15],
    [array, `dc0010${"00".repeat(16)}`, 16],
    [array, `dd00010000${"00".repeat(65_536)}`, 65_536],
    [map, "80", 0],
    [map, `8f${"0000".repeat(15)}`, 15],
    [map, `de0010${"0000".repeat(16)}`, 16],
    [map, `df00010000${"0000".repeat(65_536)}`, 65_536],
  ];
  for (const [read, hex, expected] of cases) assert.equal(read(reader(hex)), expected, hex.slice(0, 20));
});

test("refuses everything else, and says what was expected and what came", () => {
  const cases: readonly (readonly [Read, string, RegExp])[] = [
    [uint, "cc7f", /^thing: field: 127 is not in its shortest form$/],
    [uint, "cd00ff", /255 is not in its shortest form/],
    [uint, "ce0000ffff", /65535 is not in its shortest form/],
    [uint, "80", /marker 0x80, expected an unsigned integer$/],
    [uint, "cb3ff0000000000000", /marker 0xcb, expected an unsigned/],
    [uint, "cf0000000000000001", /marker 0xcf/],
    [uint, "d001", /marker 0xd0/],
    [uint, "e0", /marker 0xe0/],
    [uint, "ff", /marker 0xff/],
    [uint, "", /needs 1 bytes, 0 left/],
    [uint, "cd01", /needs 2 bytes, 1 left/],
    [text, "d91f", /31 is not in its shortest form/],
    [text, "da00ff", /255 is not/],
    [text, "db0000ffff", /65535 is not/],
    [text, "9f", /marker 0x9f, expected text$/],
    [text, "c0", /marker 0xc0, expected text/],
    [text, "c401", /marker 0xc4, expected text/],
    [text, "dc", /marker 0xdc, expected text/],
    [text, "a1", /needs 1 bytes, 0 left/],
    [text, "a1ff", /field: not valid UTF-8/],
    [bytes, "c500ff", /255 is not/],
    [bytes, "c60000ffff", /65535 is not/],
    [bytes, "c3", /marker 0xc3, expected bytes$/],
    [bytes, "c7", /marker 0xc7, expected bytes/],
    [bytes, "80", /marker 0x80, expected bytes/],
    [bytes, "a161", /marker 0xa1, expected bytes/],
    [bytes, "91c0", /marker 0xc0, expected an unsigned/],
    [bytes, "91cd0100", /256, expected 0 to 255/],
    [bytes, "9201", /2 items do not fit in 1 bytes/],
    [bytes, "c402ff", /needs 2 bytes, 1 left/],
    [array, "dc000f", /15 is not/],
    [array, "dd0000ffff", /65535 is not/],
    [array, "80", /marker 0x80, expected an array$/],
    [array, "c0", /expected an array/],
    [array, "91", /1 items do not fit in 0 bytes/],
    [array, "ddffffffff", /4294967295 items do not fit in 0 bytes/],
    [map, "de000f", /15 is not/],
    [map, "df0000ffff", /65535 is not/],
    [map, "90", /marker 0x90, expected a map$/],
    [map, "8100", /1 items do not fit in 1 bytes/],
    [map, "dfffffffff", /do not fit/],
  ];
  for (const [read, hex, expected] of cases)
    assert.match(
      refuses("attestation-malformed", () => read(reader(hex)), hex),
      expected,
      hex,
    );
  assert.match(
    refuses("attestation-malformed", () => reader("04").uint(3, "imr")),
    /imr: 4, expected 0 to 3/,
  );
  assert.equal(reader("03").uint(3, "imr"), 3);
});

test("passes over a value of any form that it knows, to a bounded depth", () => {
  const values = [
    "c0",
    "05",
    "ccff",
    "cd0100",
    "ce00010000",
    "a161",
    `d920${"61".repeat(32)}`,
    `da0100${"61".repeat(256)}`,
    `db00010000${"61".repeat(65_536)}`,
    "c401ff",
    `c50100${"01".repeat(256)}`,
    `c600010000${"01".repeat(65_536)}`,
    "90",
    "9201a161",
    `dc0010${"a0".repeat(16)}`,
    `dd00010000${"c0".repeat(65_536)}`,
    "80",
    "82a161c0a162910a",
    `de0010${"a00a".repeat(16)}`,
    `df00010000${"a00a".repeat(65_536)}`,
    `${"91".repeat(7)}0a`,
    `${"81a0".repeat(7)}0a`,
  ];
  for (const hex of values) {
    const from = reader(`${hex}2a`);
    from.skip("field");
    assert.equal(from.uint(255, "next"), 42, hex.slice(0, 20));
    from.end();
  }
  const refused: readonly (readonly [string, RegExp])[] = [
    ["", /needs 1 bytes/],
    ["c2", /expected an unsigned/],
    ["cb3ff0000000000000", /expected an unsigned/],
    ["c7", /expected an unsigned/],
    ["c1", /expected an unsigned/],
    [`${"91".repeat(8)}0a`, /nested deeper than 8/],
    [`${"81a0".repeat(8)}0a`, /nested deeper than 8/],
    ["9201", /do not fit/],
    ["92019201", /do not fit/],
    ["8101", /do not fit/],
    ["d8", /expected an unsigned/],
    ["dbffffffff", /needs/],
  ];
  for (const [hex, expected] of refused)
    assert.match(
      refuses("attestation-malformed", () => skip(reader(hex)), hex),
      expected,
      hex,
    );
});

test("takes a nil only where there is one", () => {
  const from = reader("c001");
  assert.deepEqual([from.takeNil(), from.takeNil(), from.uint(1, "rest"), from.takeNil()], [true, false, 1, false]);
});

test("holds a map to its keys", () => {
  const from = reader("82a16101a16202");
  from.mapOf(2, "pair");
  assert.deepEqual(
    [from.entry("a", (field) => from.uint(9, field)), from.entry("b", (field) => from.uint(9, field))],
    [1, 2],
  );
  assert.match(
    refuses("attestation-malformed", () => reader("81a16101").mapOf(2, "pair")),
    /pair: 1 keys, expected 2/,
  );
  assert.match(
    refuses("attestation-malformed", () => reader("a16101").entry("b", () => undefined)),
    /key "a", expected b/,
  );
});

test("writes each form at the ends of its range", () => {
  for (const [value, hex] of [
    [0, "00"],
    [127, "7f"],
    [128, "cc80"],
    [255, "ccff"],
    [256, "cd0100"],
    [65_535, "cdffff"],
    [65_536, "ce00010000"],
    [0xffff_ffff, "ceffffffff"],
  ] as const)
    assert.equal(toHex(packUint(value)), hex);
  for (const [length, hex] of [
    [0, "a0"],
    [31, "bf"],
    [32, "d920"],
    [255, "d9ff"],
    [256, "da0100"],
    [65_535, "daffff"],
    [65_536, "db00010000"],
  ] as const)
    assert.equal(toHex(packText("a".repeat(length))).slice(0, hex.length), hex);
  for (const [length, hex] of [
    [0, "c400"],
    [255, "c4ff"],
    [256, "c50100"],
    [65_536, "c600010000"],
  ] as const)
    assert.equal(toHex(packBin(new Uint8Array(length))).slice(0, hex.length), hex);
  for (const [length, hex] of [
    [0, "90"],
    [15, "9f"],
    [16, "dc0010"],
    [65_535, "dcffff"],
    [65_536, "dd00010000"],
  ] as const) {
    assert.equal(toHex(packArray(Array.from({ length }, () => packUint(0)))).slice(0, hex.length), hex);
    assert.equal(toHex(packBytesAsArray(new Uint8Array(length))).slice(0, hex.length), hex);
  }
  assert.equal(toHex(packBytesAsArray(Uint8Array.of(1, 127, 128, 255))), "94017fcc80ccff");
  for (const [length, hex] of [
    [0, "80"],
    [15, "8f"],
    [16, "de0010"],
  ] as const)
    assert.equal(toHex(packMap(Array.from({ length }, () => ["a", none] as const))).slice(0, hex.length), hex);
  assert.equal(
    toHex(
      packMap([
        ["b", packUint(1)],
        ["a", packText("x")],
      ]),
    ),
    "82a16201a161a178",
  );
});
