import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { lineSplitter } from "../src/line-splitter.ts";

test("however the bytes are cut, the same lines come out", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 12 }).map((line) => line.filter((byte) => byte !== 10))),
      fc.array(fc.nat(20)),
      (lines, cuts) => {
        const bytes = Buffer.concat(lines.flatMap((line) => [line, Uint8Array.of(10)]));
        const got: number[][] = [];
        let tooLong = 0;
        const splitter = lineSplitter(
          8,
          (line) => got.push([...line]),
          () => tooLong++,
        );
        let offset = 0;
        for (const cut of cuts) {
          splitter.push(bytes.subarray(offset, offset + cut));
          offset += cut;
        }
        splitter.push(bytes.subarray(offset));
        assert.deepEqual(
          got,
          lines.filter((line) => line.length > 0 && line.length <= 8).map((line) => [...line]),
        );
        assert.equal(tooLong, lines.filter((line) => line.length > 8).length);
      },
    ),
  );
});
