import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  BytesError,
  appId,
  hash32,
  instanceId,
  parseBareHex,
  parseHex,
  parseHexOfLength,
  readU64LE,
  toHex,
  u16le,
  u64le,
  utf8Decode,
} from "@dstack/bytes";

const code = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof BytesError);
    return error.code;
  }
  return "accepted";
};

test("hex survives a round trip, with and without 0x, in either case", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      assert.deepEqual(parseHex(toHex(bytes)), bytes);
      assert.deepEqual(parseHex(`0x${toHex(bytes).toUpperCase()}`), bytes);
    }),
  );
});

test("refuses odd, foreign and doubly prefixed hex, and never pads (DS #1268, #1310)", () => {
  for (const text of ["1", "0x1", "zz", "0x0x11", " 11", "11 "])
    assert.equal(
      code(() => parseHex(text)),
      "hex-invalid",
    );
  assert.deepEqual(parseBareHex("1aB0"), Uint8Array.of(0x1a, 0xb0));
  for (const text of ["0x11", "0X11", "1", "zz", "0x"])
    assert.equal(
      code(() => parseBareHex(text)),
      "hex-invalid",
    );
  assert.equal(
    code(() => parseHexOfLength("11".repeat(31), 32)),
    "length-wrong",
  );
  assert.equal(
    code(() => parseHexOfLength("11".repeat(33), 32)),
    "length-wrong",
  );
});

test("fixed lengths take exactly their length", () => {
  for (const length of [0, 19, 21])
    assert.equal(
      code(() => appId(new Uint8Array(length))),
      "length-wrong",
    );
  for (const length of [31, 33])
    assert.equal(
      code(() => hash32(new Uint8Array(length))),
      "length-wrong",
    );
  assert.equal(instanceId(new Uint8Array(0)).length, 0);
  assert.equal(
    code(() => instanceId(new Uint8Array(19))),
    "length-wrong",
  );
});

test("integers that do not fit are refused", () => {
  assert.equal(
    code(() => u16le(65_536)),
    "number-out-of-range",
  );
  assert.equal(
    code(() => u64le(1n << 64n)),
    "number-out-of-range",
  );
  assert.equal(readU64LE(u64le(2n ** 64n - 1n), 0), 2n ** 64n - 1n);
  assert.equal(
    code(() => readU64LE(new Uint8Array(7), 0)),
    "out-of-bounds",
  );
});

test("ill-formed UTF-8 is refused instead of replaced", () => {
  assert.equal(
    code(() => utf8Decode(Uint8Array.of(0xff))),
    "utf8-invalid",
  );
});
