import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSize, SIZE_GRAMMARS } from "@dstack/bytes";

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
    for (const value of [-1, 2n ** 64n, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60])
      assert.throws(() => parseSize(value), { code: "size-invalid" });
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

  it("read the byte units of a web framework where a format asks for them", () => {
    const read = (text: string): bigint => parseSize(text, SIZE_GRAMMARS.bodyLimit);
    assert.deepEqual(["10", "5b", "10MiB", "1 MiB", "1 mb", "2KB", "2 KiB"].map(read), [
      10n,
      5n,
      10n * 1024n ** 2n,
      1024n ** 2n,
      1_000_000n,
      2000n,
      2048n,
    ]);
    for (const text of ["", "1M", "1 XB", "0x10", "1.5MiB", "-1", "MiB", "1 M iB"])
      assert.throws(() => read(text), { code: "size-invalid" }, text);
  });

  it("read a command line's amounts, with fractions that come out whole", () => {
    const { memory, disk } = SIZE_GRAMMARS;
    assert.deepEqual(
      [parseSize("2048", memory), parseSize("1.5GB", memory), parseSize("10", disk), parseSize("1 t", disk)],
      [2048n * 1024n ** 2n, 1536n * 1024n ** 2n, 10n * 1024n ** 3n, 1024n ** 4n],
    );
    for (const text of ["", "x", "-1", "1.5.5G", ".5G", "1.G", "0x10", "1K", `1.${"0".repeat(59)}1G`])
      assert.throws(() => parseSize(text, memory), { code: "size-invalid" }, text);
  });
});
