import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { askWebhook, askWebhookInfo, hypotheticalBoot } from "../src/index.ts";

const boot = hypotheticalBoot({
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
  osImageHash: "22".repeat(32),
  deviceId: "66".repeat(32),
});
const CONTRACT = `0x${"aB".repeat(20)}`;
let answer: (path: string) => { readonly status?: number; readonly body: string };
let asked = "";
const server = createServer((request, response) => {
  asked = "";
  request
    .on("data", (chunk: Buffer) => (asked += chunk.toString()))
    .once("end", () => {
      const { status = 200, body } = answer(request.url ?? "");
      response.writeHead(status, { "content-type": "application/json", location: "/elsewhere" }).end(body);
    });
});
await once(server.listen(0, "127.0.0.1"), "listening");
const webhook = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, timeoutMs: 20_000 };
after(() => {
  server.closeAllConnections();
  server.close();
});

const decision = (over: object): { body: string } => ({
  body: JSON.stringify({ isAllowed: false, reason: "no", gatewayAppId: "", ...over }),
});
const info = (over: object = {}): { body: string } => ({
  body: JSON.stringify({
    status: "ok",
    gatewayAppId: "gw",
    kmsContractAddr: CONTRACT,
    chainId: 1,
    appImplementation: "",
    ...over,
  }),
});

test("asks about a VM that does not exist yet, in the exact lengths that contracts take (DS #1268)", async () => {
  answer = () => decision({ isAllowed: true, reason: "" });
  assert.deepEqual(await askWebhook(webhook, "app", boot), { kind: "allowed" });
  assert.deepEqual(
    Object.fromEntries(
      Object.entries(JSON.parse(asked) as Record<string, string>)
        .filter(([, value]) => /^[0-9a-f]+$/.test(value))
        .map(([key, value]) => [key, value.length / 2]),
    ),
    {
      appId: 20,
      composeHash: 32,
      osImageHash: 32,
      deviceId: 32,
      instanceId: 20,
      mrAggregated: 32,
      mrSystem: 32,
      mrtd: 48,
      rtmr0: 48,
      rtmr1: 48,
      rtmr2: 48,
      rtmr3: 48,
    },
  );
});

test("a denial carries rule, field and the command for the policy that the webhook reads", async () => {
  answer = (path) => (path === "/" ? info() : decision({ rule: "apps.0x.composeHashes", field: "composeHash" }));
  const command = `dstack auth allow compose 0x${boot.composeHash} --app 0x${boot.appId}`;
  assert.deepEqual(await askWebhook(webhook, "app", boot), {
    kind: "denied",
    reason: "no",
    rule: "apps.0x.composeHashes",
    field: "composeHash",
    command,
  });
  answer = (path) =>
    path === "/"
      ? info({ ethRpcUrl: "http://127.0.0.1:1,https://b.example" })
      : decision({ rule: `DstackKms ${CONTRACT}: registeredApps`, field: "appId" });
  const onChain = await askWebhook(webhook, "app", boot);
  assert.equal(
    onChain.kind === "denied" ? onChain.command : "",
    `dstack auth allow app 0x${boot.appId} --contract ${CONTRACT} --rpc http://127.0.0.1:1,https://b.example`,
  );
  for (const rule of ["DENY_LIST_PATH", `DstackKms ${CONTRACT}: code at the app's address`]) {
    answer = () => decision({ rule, field: "appId" });
    assert.deepEqual(await askWebhook(webhook, "app", boot), {
      kind: "denied",
      reason: "no",
      rule,
      field: "appId",
      command: undefined,
    });
  }
});

test("a denial for the platform comes with the command that takes it, and none for what no policy can take", async () => {
  const commandOf = async (rule: string, field: string, change: object): Promise<string | undefined> => {
    answer = (path) => (path === "/" ? info() : decision({ reason: "no", rule, field }));
    const denied = await askWebhook(webhook, "app", { ...boot, ...change });
    return denied.kind === "denied" ? denied.command : assert.fail(denied.kind);
  };
  assert.equal(
    await commandOf("allowedAdvisoryIds", "advisoryIds", { advisoryIds: ["INTEL-SA-00001", "INTEL-SA-00002"] }),
    "dstack auth allow advisory INTEL-SA-00001,INTEL-SA-00002",
  );
  assert.equal(
    await commandOf("allowedTcbStatuses", "tcbStatus", { tcbStatus: "SWHardeningNeeded" }),
    "dstack auth allow status SWHardeningNeeded",
  );
  assert.match(
    (await commandOf(`0x${"a1".repeat(20)}: requireTcbUpToDate`, "tcbStatus", { tcbStatus: "OutOfDate" })) ?? "",
    /^dstack auth require-tcb 0x[0-9a-f]{40} off$/,
  );
  for (const [rule, field, change] of [
    ["allowedTcbStatuses", "tcbStatus", { tcbStatus: "Revoked" }],
    ["0xkms: isKmsAllowed", "tcbStatus", { tcbStatus: "OutOfDate" }],
    ["allowedTcbStatuses", "tcbStatus", { tcbStatus: "x;reboot" }],
    ["allowedAdvisoryIds", "advisoryIds", { advisoryIds: ["INTEL-SA-00001", "$(reboot)"] }],
    ["allowedAdvisoryIds", "advisoryIds", { advisoryIds: [] }],
  ] as const)
    assert.equal(await commandOf(rule, field, change), undefined, JSON.stringify(change));
});

test("what a webhook says of itself never becomes part of a shell command, nor its words control a terminal", async () => {
  answer = (path) =>
    path === "/"
      ? info({ ethRpcUrl: "http://a;reboot" })
      : decision({ reason: "\u001b[2Jno\n\u202ex", field: "osImageHash" });
  const hostile = await askWebhook(webhook, "app", boot);
  assert.deepEqual(hostile, {
    kind: "denied",
    reason: "\\x1b[2Jno\\x0a\\u{202e}x",
    rule: "",
    field: "osImageHash",
    command: `dstack auth allow os-image 0x${boot.osImageHash}`,
  });
});

test("no answer is no denial: errors, other forms, redirections, floods, silence", async () => {
  for (const [given, reason] of [
    [{ status: 500, body: "boom" }, /returned 500: boom/],
    [{ status: 302, body: "" }, /returned 302/],
    [{ body: "<html>" }, /failed to decode response/],
    [{ body: '{"isAllowed":"yes","reason":"","gatewayAppId":""}' }, /failed to decode response/],
    [{ body: "x".repeat(70_000) }, /exceeds 65536 bytes/],
  ] as const) {
    answer = () => given;
    const got = await askWebhook(webhook, "app", boot);
    assert.equal(got.kind, "no-answer");
    assert.match(got.reason, reason);
  }
  const deaf = createServer(() => undefined);
  await once(deaf.listen(0, "127.0.0.1"), "listening");
  const got = await askWebhookInfo({ url: `http://127.0.0.1:${(deaf.address() as AddressInfo).port}`, timeoutMs: 50 });
  assert.match(String(got), /could not be asked \(no answer within 50 ms\)/);
  deaf.closeAllConnections();
  deaf.close();
});
