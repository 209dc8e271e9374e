import { test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { readServerName } from "../src/proxy/client-hello.ts";

test("any bytes give an answer, and more bytes never turn a refusal into a name", () => {
  const startsLikeTls = fc
    .uint8Array({ maxLength: 400 })
    .map((bytes) => Uint8Array.of(22, 3, 1, 0, bytes.length & 255, 1, 0, 0, ...bytes));
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 600 }), startsLikeTls),
      fc.uint8Array({ maxLength: 50 }),
      (bytes, more) => {
        const first = readServerName(bytes);
        if (first.kind === "invalid") assert.equal(readServerName(Uint8Array.of(...bytes, ...more)).kind, "invalid");
      },
    ),
  );
});
