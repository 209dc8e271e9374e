import assert from "node:assert/strict";
import { test } from "node:test";
import { appUrl } from "../src/local/app-url.ts";
import { stackLayout } from "../src/local/layout.ts";

test("port 80 needs no suffix, any other port has one", () => {
  const layout = stackLayout({ XDG_STATE_HOME: "/s", XDG_CACHE_HOME: "/c" });
  assert.equal(appUrl(layout, "ab", 80), "https://ab.dstack.localhost:9443/");
  assert.equal(appUrl(layout, "ab", 8090), "https://ab-8090.dstack.localhost:9443/");
});
