import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { parseBootInfo } from "@dstack/governance";
import { publicKeyHex, signingKey } from "@dstack/governance/answers";
import { startWebhook as startRealWebhook } from "@dstack/governance/webhook";
import { createLogger } from "@dstack/log";
import { startWebhook, type Boot } from "./fake/webhook.ts";
import { cleanUp, composeFile, makeHost, startVmm, vmRequest, type TestVmm } from "./vmm-process.ts";

after(cleanUp);

const TOKEN = "t".repeat(32);
const DEVICE = "66".repeat(32);
const AUTH = `[auth]\nenabled = true\ntokens = ["${TOKEN}"]\n`;
const IMAGE = "dstack-0.6.0";

async function ask(
  vmm: TestVmm,
  question: unknown,
  headers: Record<string, string> = { authorization: `Bearer ${TOKEN}` },
): Promise<{ status: number; json: Record<string, unknown> }> {
  const { status, text } = await vmm.http("POST", "/boot-advice", {
    body: typeof question === "string" ? question : JSON.stringify(question),
    headers,
  });
  return { status, json: text.startsWith("{") ? (JSON.parse(text) as Record<string, unknown>) : {} };
}

test("the VMM asks the policy about a boot that has not happened, for its users alone", async () => {
  const webhook = await startWebhook();
  const host = makeHost();
  const vmm = await startVmm(host, {
    toml: `${AUTH}[auth_webhook]\nurl = "${webhook.url}"\ndevice_id = "0x${DEVICE}"`,
  });
  try {
    const asked: Boot[] = [];
    const seen = (): Boot | undefined => asked.at(-1);
    webhook.answer = (boot) => {
      asked.push(boot);
      return { isAllowed: true, reason: "", gatewayAppId: "" };
    };
    const question = { image: IMAGE, compose_file: composeFile() };
    assert.equal((await ask(vmm, question, {})).status, 401);
    assert.equal(
      (await ask(vmm, question, { authorization: `Bearer ${TOKEN}`, origin: "https://elsewhere.example" })).status,
      403,
    );
    assert.equal(seen(), undefined);
    assert.equal(
      (await vmm.http("GET", "/boot-advice", { headers: { authorization: `Bearer ${TOKEN}` } })).status,
      404,
    );

    const { json } = await ask(vmm, question);
    assert.deepEqual([json["allowed"], json["app_id"]], [true, String(json["compose_hash"]).slice(0, 40)]);
    assert.deepEqual(
      [seen()?.appId, seen()?.composeHash, seen()?.osImageHash, seen()?.deviceId],
      [json["app_id"], json["compose_hash"], vmm.imageHash, `0x${DEVICE}`],
    );
    assert.deepEqual(json["advice"], []);
    const shared = await ask(vmm, {
      ...question,
      compose_file: composeFile({ no_instance_id: true }),
      user_config: '{"owner_id": 1}',
    });
    const [oneKey, identity] = shared.json["advice"] as string[];
    assert.match(String(oneKey), /^no_instance_id: all instances/);
    assert.match(String(identity), /^user_config: .*not measured/);
    await ask(vmm, { ...question, app_id: `0x${"AB".repeat(20)}` });
    assert.equal(seen()?.appId, "ab".repeat(20));

    webhook.answer = () => ({
      isAllowed: false,
      reason: "no",
      gatewayAppId: "",
      rule: "osImages",
      field: "osImageHash",
    });
    assert.deepEqual((await ask(vmm, question)).json, {
      ...json,
      allowed: false,
      reason: "no",
      rule: "osImages",
      field: "osImageHash",
      command: `dstack auth allow os-image 0x${vmm.imageHash}`,
    });
    webhook.answer = undefined;
    const down = (await ask(vmm, question)).json;
    assert.equal(down["allowed"], null);
    assert.match(String(down["reason"]), /could not be asked/);
    const keyless = (
      await ask(vmm, { ...question, compose_file: composeFile({ kms_enabled: false, key_provider: "none" }) })
    ).json;
    assert.match(String(keyless["reason"]), /asks no KMS/);

    for (const bad of [
      "",
      "[]",
      "{",
      {},
      { id: "no-such-vm" },
      { compose_file: composeFile() },
      { image: "../x", compose_file: composeFile() },
      { image: "missing", compose_file: composeFile() },
      { image: IMAGE, compose_file: "{" },
      { ...question, app_id: "ab" },
    ]) {
      const { status, json: refusal } = await ask(vmm, bad);
      assert.equal(status, 400, JSON.stringify(bad).slice(0, 80));
      assert.equal(typeof refusal["error"], "string");
      assert.match(String(refusal["request_id"]), /^[0-9a-f-]{36}$/);
    }
    assert.equal(
      (await vmm.http("GET", "/prpc/Version", { headers: { authorization: `Bearer ${TOKEN}` } })).status,
      200,
    );
  } finally {
    await vmm.endAll();
    webhook.close();
  }
});

test("an update is asked about with the app's own id, and an unknown device is said to be unknown", async () => {
  const webhook = await startWebhook();
  const vmm = await startVmm(makeHost(), { toml: `[auth_webhook]\nurl = "${webhook.url}"` });
  try {
    const appId = "cd".repeat(20);
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ app_id: appId, stopped: true }));
    webhook.answer = (boot) =>
      boot.appId === appId
        ? { isAllowed: true, reason: "", gatewayAppId: "" }
        : { isAllowed: false, reason: "other app", gatewayAppId: "" };
    for (const question of [{ id }, { id, compose_file: composeFile({ name: "new" }) }, { id, image: IMAGE }]) {
      const { allowed, reason } = (await ask(vmm, question)).json;
      assert.equal(allowed, true);
      assert.match(String(reason), /^not checked: whether the policy takes the platform's TCB status/);
    }
    webhook.answer = () => ({
      isAllowed: false,
      reason: "Device not allowed",
      gatewayAppId: "",
      rule: "x",
      field: "deviceId",
    });
    const { allowed, reason } = (await ask(vmm, { id })).json;
    assert.equal(allowed, null);
    assert.match(String(reason), /set auth_webhook\.device_id/);
  } finally {
    await vmm.endAll();
    webhook.close();
  }
});

test("a webhook that wants a token and signs its answers is asked that way, and believed by its key alone", async () => {
  const folder = await mkdtemp(join(tmpdir(), "boot-advice-"));
  const [keyFile, tokenFile] = [join(folder, "answer.pem"), join(folder, "token")];
  await writeFile(tokenFile, "t0ken\n");
  const webhook = await startRealWebhook({
    listen: { host: "127.0.0.1", port: 0 },
    backend: {
      info: () => Promise.resolve({ kmsContractAddr: "", gatewayAppId: "", chainId: 0, appImplementation: "" }),
      parse: parseBootInfo,
      decide: () => Promise.resolve({ isAllowed: true, reason: "", gatewayAppId: "" }),
      malformed: () => ({}),
      failure: () => "failed",
    },
    log: createLogger({ name: "test", level: "off" }),
    env: { ANSWER_KEY_PATH: keyFile, BEARER_TOKEN_PATH: tokenFile },
  });
  const key = publicKeyHex(await signingKey(keyFile));
  const other = publicKeyHex(await signingKey(join(folder, "other.pem")));
  const question = { image: IMAGE, compose_file: composeFile() };
  const advised = async (more: string): Promise<Record<string, unknown>> => {
    const toml = `${AUTH}[auth_webhook]\nurl = "http://${webhook.address}"\n${more}`;
    const vmm = await startVmm(makeHost(), { toml });
    try {
      return (await ask(vmm, question)).json;
    } finally {
      await vmm.endAll();
    }
  };
  try {
    const known = await advised(`bearer_token_file = "${tokenFile}"\nanswer_keys = ["${key}"]`);
    assert.equal(known["allowed"], true);
    const stranger = await advised("");
    assert.deepEqual([stranger["allowed"]], [null]);
    assert.match(String(stranger["reason"]), /returned 401/);
    const forged = await advised(`bearer_token_file = "${tokenFile}"\nanswer_keys = ["${other}"]`);
    assert.deepEqual([forged["allowed"]], [null]);
    assert.match(String(forged["reason"]), /rule answer\.signature/);
    await assert.rejects(advised(`answer_keys = ["${"00".repeat(32)}"]`), /auth_webhook\.answer_keys: .*small order/);
  } finally {
    await webhook.close();
    await rm(folder, { recursive: true });
  }
});
