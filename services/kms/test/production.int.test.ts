import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { connect } from "node:tls";
import { after, before, test } from "node:test";
import { trustAnchorFromPem } from "@dstack/attest";
import { readDstackExtensions } from "@dstack/ratls";
import { startKms, type Kms } from "../src/kms.ts";
import { Harness } from "./harness.ts";
import { startMockAgent, type MockAgent } from "./mock-agent.ts";
import { startScriptedWebhook, type ScriptedWebhook } from "./scripted-webhook.ts";

let harness: Harness;
let agent: MockAgent;
let auth: ScriptedWebhook;
before(async () => {
  harness = await Harness.create();
  agent = await startMockAgent(harness, join(harness.folder, "agent.sock"), "1");
  auth = await startScriptedWebhook(agent.mrAggregated);
});
after(async () => {
  agent?.close();
  auth?.close();
  await harness.close();
});

/** No insecure setting at all; only the root of trust is that of the tests. */
async function startProduction(): Promise<Kms> {
  const options = await harness.kmsOptions(
    {
      "core.attest_rpc_cert": "true",
      "core.enforce_self_authorization": "true",
      "core.auth_api.webhook.url": `"${auth.url}"`,
    },
    { DSTACK_AGENT_ADDRESS: agent.address },
  );
  const { tdxRootPath, ...config } = options.config;
  return startKms({
    ...options,
    config: { ...config, tdxRootPath: undefined, allowExternalTrustAnchors: false },
    trustAnchor: trustAnchorFromPem(await readFile(tdxRootPath!, "utf8")),
  });
}

test("a production folder runs: attested certificate, authorized, no insecure setting, keys for good guests", async () => {
  for (let i = 0; i < 2; i++) {
    harness.kms = await startProduction();
    assert.equal(await readFile(join(harness.folder, "keys/environment"), "utf8"), "production\n");
    assert.equal(await harness.refusalOf(harness.guest()), "released");
    const meta = JSON.parse(await harness.post("GetMeta", {})) as {
      environment: string;
      insecure_settings: string[];
      checks: { name: string; result: string }[];
      bootstrap_info: Record<string, string>;
    };
    assert.deepEqual([meta.environment, meta.insecure_settings, meta.checks[0]?.result], ["production", [], "pass"]);
    assert.ok(
      meta.bootstrap_info["attestation"] !== "" &&
        meta.bootstrap_info["quote"] !== "" &&
        meta.bootstrap_info["eventlog"] !== "",
    );
    if (i === 0) await harness.kms.close();
  }
});

test("withdrawn from the list it serves nobody, and it recovers without a restart when it is put back", async () => {
  auth.kms.clear();
  const until = async (wanted: RegExp): Promise<void> => {
    let text = "";
    for (let i = 0; i < 200 && !wanted.test(text); i++) {
      text = await harness.refusalOf(harness.guest());
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.match(text, wanted);
  };
  await until(/KMS self authorization failed: KMS is not allowed: not on the list/);
  const ready = await fetchReady();
  assert.deepEqual([ready.ready, ready.problems], [false, ["KMS is not allowed: not on the list"]]);
  auth.kms.add(agent.mrAggregated);
  await until(/^released$/);
});

async function fetchReady(): Promise<{ ready: boolean; problems: string[] }> {
  return new Promise((resolve, reject) => {
    request(`https://127.0.0.1:${harness.kms.server.port}/readyz`, { rejectUnauthorized: false }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => resolve(JSON.parse(text) as { ready: boolean; problems: string[] }));
    })
      .on("error", reject)
      .end();
  });
}

test("the certificate on the wire carries the evidence, and a start without an agent is refused", async () => {
  const raw = await new Promise<Buffer>((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: harness.kms.server.port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().raw);
      socket.destroy();
    });
    socket.on("error", reject);
  });
  assert.ok(readDstackExtensions(new Uint8Array(raw)).attestation !== undefined);
  await harness.kms.close();
  agent.close();
  await assert.rejects(
    startProduction(),
    /Failed to reissue the attested KMS RPC certificate; refusing to start with a potentially unattested certificate/,
  );
});
