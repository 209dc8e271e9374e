import assert from "node:assert/strict";
import { test } from "node:test";
import { appUrl, publishedPorts } from "../src/local/app-url.ts";
import { stackLayout } from "../src/local/layout.ts";

test("port 80 needs no suffix, any other port has one", () => {
  const layout = stackLayout({ XDG_STATE_HOME: "/s", XDG_CACHE_HOME: "/c" });
  assert.equal(appUrl(layout, "ab", 80), "https://ab.dstack.localhost:9443/");
  assert.equal(appUrl(layout, "ab", 8090), "https://ab-8090.dstack.localhost:9443/");
});

test("finds the published TCP ports in every form of the compose file", () => {
  const yaml =
    'services:\n  a:\n    ports: ["80:8080", "127.0.0.1:81:1", "82:2/tcp", "53:53/udp", "9000", "90-91:90-91"]\n  b:\n    ports:\n      - { target: 1, published: "83" }\n      - { target: 1, published: 84, protocol: udp }\n  c: null\n';
  assert.deepEqual(publishedPorts(yaml), [80, 81, 82, 90, 83]);
  assert.deepEqual(publishedPorts(""), []);
});
