import assert from "node:assert/strict";
import { test } from "node:test";
import { BytesError, concatBytes, scaleBytes, scaleCompact, ScaleReader, scaleText, toHex } from "@dstack/bytes";

const refuses = (run: () => unknown, text: RegExp): void => {
  assert.throws(run, (error: unknown) => error instanceof FormError && text.test(error.message));
};
class FormError extends Error {}
const over = (bytes: Uint8Array): ScaleReader =>
  new ScaleReader(bytes, "form", (text, cause) => new FormError(text, { cause }));
const reader = (...bytes: readonly number[]): ScaleReader => over(Uint8Array.from(bytes));

test("reads and writes each form of a length at its bounds", () => {
  for (const [length, hex] of [
    [0, "00"],
    [63, "fc"],
    [64, "0101"],
    [16_383, "fdff"],
    [16_384, "02000100"],
  ] as const) {
    const bytes = scaleBytes(new Uint8Array(length));
    assert.equal(toHex(bytes.subarray(0, bytes.length - length)), hex);
    assert.equal(over(bytes).bytes("field").length, length);
  }
});

test("refuses a length in a longer form, or above what any form here holds", () => {
  refuses(() => reader(0xfd, 0x00).compact("field"), /form: field: compact number not in its shortest form/);
  refuses(() => reader(0xfe, 0xff, 0x00, 0x00).compact("field"), /shortest form/);
  refuses(() => reader(0x03, 0, 0, 0, 0x40).compact("field"), /length above 2\^30/);
  assert.equal(reader(0x02, 0x00, 0x01, 0x00).compact("field"), 16_384);
  assert.equal(reader(0x01, 0x01).compact("field"), 64);
});

test("refuses a text that is not UTF-8, a flag that is neither, and a field that is cut", () => {
  refuses(() => reader(4, 0xff).text("field"), /field: not valid UTF-8/);
  refuses(() => reader(2).bool("field"), /expected 00 or 01, got 2/);
  refuses(() => reader(8, 1).bytes("field"), /needs 2 bytes, 1 left/);
  refuses(() => reader(0, 1, 2).take(4, "field"), /needs 4 bytes, 3 left/);
  assert.equal(over(scaleText("ü")).text("field"), "ü");
});

test("holds the count of a list against its limit and against the bytes left", () => {
  const items = (reading: ScaleReader, limit: number): number[] =>
    reading.list("items", limit, 1, () => reading.u8("item"));
  assert.deepEqual(items(reader(12, 1, 2, 3), 3), [1, 2, 3]);
  refuses(() => items(reader(12, 1, 2, 3), 2), /3 items, limit 2/);
  refuses(() => items(reader(12, 1, 2), 3), /3 items do not fit in 2 bytes/);
});

test("says what is left, and refuses it at the end", () => {
  const reading = over(concatBytes(scaleText("a"), Uint8Array.of(9, 8)));
  reading.text("field");
  assert.deepEqual([...reading.rest()], [9, 8]);
  refuses(() => reading.end(), /2 bytes after the end/);
  reading.take(2, "tail");
  reading.end();
});

test("writes no number that has no short form", () => {
  assert.equal(toHex(scaleCompact(2 ** 30 - 1)), "feffffff");
  assert.throws(
    () => scaleCompact(2 ** 30),
    (error: unknown) => error instanceof BytesError && error.code === "number-out-of-range",
  );
});
