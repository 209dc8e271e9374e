import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { PRODUCT_VERSION, REVISION, revisionOf, VERSION_TEXT, WIRE_VERSION } from "@dstack/proto/wire";

test("the product's version is the repository's, and neither version is anything but three numbers", () => {
  const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  assert.equal(PRODUCT_VERSION, version);
  for (const text of [PRODUCT_VERSION, WIRE_VERSION]) assert.match(text, /^\d+\.\d+\.\d+$/);
});

test("names the commit of a packed release, and none in a checkout, which may hold more than its commit", () => {
  assert.equal(revisionOf("0123456789abcdef0123456789abcdef01234567"), "git:0123456789abcdef0123");
  for (const text of ["$Format:%H$", "", "0123456789abcdef", "0".repeat(41)]) assert.equal(revisionOf(text), undefined);
  assert.equal(VERSION_TEXT, REVISION === undefined ? `v${WIRE_VERSION}` : `v${WIRE_VERSION} (${REVISION})`);
});

test("is packed with the commit in its place", () => {
  const attributes = readFileSync(new URL("../../../.gitattributes", import.meta.url), "utf8");
  assert.match(attributes, /^libs\/proto\/src\/wire\.ts export-subst$/m);
});
