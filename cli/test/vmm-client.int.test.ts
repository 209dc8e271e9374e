import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { stackLayout } from "../src/local/layout.ts";
import { vmmClient, type VmmClient } from "../src/clients/vmm-client.ts";

const vms = [
  { id: "aaaaaaaa-1", name: "web", app_id: "11".repeat(20), status: "removing" },
  { id: "bbbbbbbb-1", name: "web", app_id: "11".repeat(20), status: "running" },
];
const server = createServer((_request, answer) => {
  answer.setHeader("content-type", "application/json");
  answer.end(JSON.stringify({ vms }));
});
let client: VmmClient;
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = await vmmClient(stackLayout({}), { DSTACK_VMM_URL: url, DSTACK_VMM_TOKEN: "t" });
});
after(() => server.close());

test("only the local deployment's VMM is held to be the only one of its policy", async () => {
  assert.equal(client.isLocal, false);
  assert.equal((await vmmClient(stackLayout({}), {})).isLocal, true);
});

test("an app that is being removed is found by its VM id alone: its name is the next one's", async () => {
  assert.equal((await client.find("web")).id, "bbbbbbbb-1");
  assert.equal((await client.find("11".repeat(20))).id, "bbbbbbbb-1");
  assert.equal((await client.find("aaaaaaaa-1")).status, "removing");
  await assert.rejects(client.find("aaaaaaaa"), { code: "not-found" });
});
