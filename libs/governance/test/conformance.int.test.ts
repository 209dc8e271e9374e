import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { checkConformance } from "../src/conformance.ts";

test("a webhook whose answers have no end is told so, and read no further than a bound", async (t) => {
  const server = createServer((request, response) => {
    request.resume();
    const chunk = Buffer.alloc(256 * 1024, "x");
    const more = (): void => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on("drain", more);
    more();
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const results = (await checkConformance({ url })).filter(({ result }) => result !== "not applicable");
  assert.ok(results.length > 10);
  for (const { behaviour, result, reason } of results) {
    assert.equal(result, "fail", behaviour);
    assert.match(reason, /answer exceeds 1048576 bytes/, behaviour);
  }
});
