import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { PRODUCT_VERSION, WIRE_VERSION } from "@dstack/proto/wire";

test("the product's version is the repository's, and neither version is anything but three numbers", () => {
  const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  assert.equal(PRODUCT_VERSION, version);
  for (const text of [PRODUCT_VERSION, WIRE_VERSION]) assert.match(text, /^\d+\.\d+\.\d+$/);
});
