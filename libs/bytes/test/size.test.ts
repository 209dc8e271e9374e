import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSize } from "@dstack/bytes";

describe("sizes", () => {
  it("read decimal, hexadecimal and suffixed forms", () => {
    assert.equal(parseSize("4096"), 4096n);
    assert.equal(parseSize("0x1000"), 4096n);
    assert.equal(parseSize(" 4g "), 4n * 1024n ** 3n);
    assert.equal(parseSize("2T"), 2n * 1024n ** 4n);
  });

  it("take numbers as they are", () => {
    assert.equal(parseSize(5), 5n);
    assert.equal(parseSize(2n ** 64n - 1n), 2n ** 64n - 1n);
    for (const value of [-1, 2n ** 64n]) assert.throws(() => parseSize(value), { code: "size-invalid" });
  });

  it("refuse empty, signed, fractional, unknown and overflowing forms", () => {
    for (const text of [
      "",
      " ",
      "-1",
      "+1",
      "1.5G",
      "G",
      "0x",
      "1P",
      "1KB",
      "99999999999999999999",
      "20000000T",
      "9".repeat(100_000),
    ])
      assert.throws(() => parseSize(text), { code: "size-invalid" }, text.slice(0, 20));
    assert.throws(() => parseSize("1P"), /Unknown memory size suffix: P/);
  });
});
