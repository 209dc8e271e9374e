import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { it } from "node:test";
import fc from "fast-check";
import { renderEnvironment } from "../src/index.ts";

it("a shell reads every rendered value back exactly (DS #1243)", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 40 }).filter((value) => !value.includes("\0"));
  const nasty = fc.string({
    unit: fc.constantFrom("\\", '"', "$", "`", "'", "\n", " ", "a", "$(id)", "${A}", "#", "=", "\r"),
    maxLength: 12,
  });
  const values = fc.sample(fc.oneof(text, nasty), { numRuns: 400, seed: 7 });
  const file = renderEnvironment(new Map(values.map((value, i) => [`V${i}`, value])));
  const script = `${file}\n${values.map((_, i) => `printf '%s\\0' "$V${i}"`).join("\n")}`;
  const read = execFileSync("sh", { input: script, env: {} }).toString("utf8").split("\0").slice(0, -1);
  assert.deepEqual(read, values);
});
