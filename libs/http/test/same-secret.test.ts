import assert from "node:assert/strict";
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { test } from "node:test";
import { isSameSecret } from "@dstack/http";

test("secrets are compared by their digests, all 32 bytes, whatever they have in common (#560)", (t) => {
  const compare = t.mock.method(crypto, "timingSafeEqual");
  syncBuiltinESMExports();
  try {
    for (const [given, expected] of [
      ["s3cret", true],
      ["S3cret", false],
      ["s3creT", false],
      ["", false],
      ["s3cret and more", false],
    ] as const) {
      compare.mock.resetCalls();
      assert.equal(isSameSecret("s3cret", given), expected, given);
      const [call, ...more] = compare.mock.calls;
      assert.deepEqual(more, []);
      assert.deepEqual(
        call?.arguments.map((bytes) => (bytes as Uint8Array).length),
        [32, 32],
      );
    }
  } finally {
    compare.mock.restore();
    syncBuiltinESMExports();
  }
});
