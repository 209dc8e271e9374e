import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Check } from "@dstack/attest";
import { createLogger } from "@dstack/log";
import { startMockPccs } from "@dstack/tee-simulator";
import { Harness } from "../../services/kms/test/harness.ts";
import { startMockAgent, type MockAgent } from "../../services/kms/test/mock-agent.ts";
import { startScriptedWebhook, type ScriptedWebhook } from "../../services/kms/test/scripted-webhook.ts";
import { createCli, type Cli } from "../src/clients/cli.ts";
import { tcbStatus } from "../src/tcb/status.ts";
import { fullReportText } from "../src/verify/report.ts";
import type { VerifyResult } from "../src/verify/result.ts";
import { verifyFile, verifyUrl, type TargetOptions } from "../src/verify/target.ts";
import { captured } from "./captured.ts";

// What the mock agent of the KMS's own tests attests.
const KMS_APP = "4b".repeat(20);
const KMS_COMPOSE = "cc".repeat(32);

let harness: Harness;
let agent: MockAgent;
let auth: ScriptedWebhook;
let bundle = "";

before(async () => {
  harness = await Harness.create();
  agent = await startMockAgent(harness, join(harness.folder, "agent.sock"), "1");
  auth = await startScriptedWebhook(agent.mrAggregated);
  bundle = join(harness.folder, "bundle.json");
  await harness.start(
    {
      "core.attest_rpc_cert": "true",
      "core.enforce_self_authorization": "true",
      "core.auth_api.webhook.url": `"${auth.url}"`,
    },
    { DSTACK_AGENT_ADDRESS: agent.address },
  );
});
after(async () => {
  agent?.close();
  auth?.close();
  await harness.close();
});

const cli = (cache = "cache"): Cli =>
  createCli({ XDG_STATE_HOME: join(harness.folder, "state"), XDG_CACHE_HOME: join(harness.folder, cache) });
const check = ({ checks }: VerifyResult, name: string): Check =>
  checks.find((candidate) => candidate.name === name) ?? assert.fail(`no check ${name}: ${JSON.stringify(checks)}`);

async function verify(change: TargetOptions = {}, cache = "cache"): Promise<VerifyResult> {
  const config = await readFile(join(harness.folder, "kms.toml"), "utf8");
  const pccs = /urls\.pccs = "([^"]+)"/.exec(config)?.[1];
  return verifyUrl(cli(cache), "kms", new URL(harness.baseUrl), {
    root: join(harness.folder, "root.pem"),
    ...(pccs === undefined ? {} : { pccs: [pccs] }),
    imageDir: join(harness.folder, "dstack-sim-0.6.0"),
    ...change,
  });
}

test("a KMS verifies by the evidence in its certificate, its root CA and the evidence over its root keys", async () => {
  const result = await verify({ save: bundle, appId: KMS_APP, composeHash: `0x${KMS_COMPOSE}` });
  assert.equal(result.ok, true, fullReportText(result));
  for (const name of [
    "kms-certificate",
    "root-ca",
    "report-data",
    "os-image",
    "root-keys",
    "identity",
    "expected-app-id",
    "expected-compose-hash",
  ])
    assert.equal(check(result, name).result, "pass", name);
  assert.match(fullReportText(result), /allow-list +contract 0xabc on chain 7/);
  assert.match(fullReportText(result), /insecure_allow_external_trust_anchors/, "what the KMS leaves out is shown");
});

test("a KMS on an outdated platform is no silent pass, and neither are root keys that one made", async () => {
  const pccs = await startMockPccs({
    pki: harness.pki,
    host: "127.0.0.1",
    port: 0,
    log: createLogger({ name: "t", stream: { write: () => undefined } }),
    clock: Date,
    edition: () => ({ evaluation: 20, microcode: 3 }),
  });
  try {
    const anew = (change: TargetOptions = {}): Promise<VerifyResult> =>
      verify({ pccs: [`http://${pccs.address}`], ...change }, `cache-${randomUUID()}`);
    const result = await anew();
    assert.deepEqual([result.ok, result.verdict.kind, check(result, "tcb").result], [false, "incomplete", "not bound"]);
    assert.match(
      fullReportText(result),
      /^! platform .*OutOfDate, platform .*; UpToDate .* needs TDX component 2 at 3 \(has 0\)/m,
    );
    assert.match(fullReportText(result), /^! advisories .*MOCK-SA-00001/m);
    const taken = await anew({ accept: ["tcb"] });
    assert.equal(taken.ok, true, fullReportText(taken));
    // The keys were made earlier: today's documents do not say what the platform was then.
    assert.deepEqual([check(taken, "root-keys").result, check(taken, "root-keys-tcb").result], ["pass", "not bound"]);
    const status = await captured(() =>
      tcbStatus(cli(`cache-${randomUUID()}`), harness.baseUrl, {
        evaluation: [],
        early: false,
        output: "text",
        root: join(harness.folder, "root.pem"),
        pccs: [`http://${pccs.address}`],
      }),
    );
    assert.equal(status.code, 3);
    assert.match(status.text, /^KMS: TDX platform.*^today +20 .*OutOfDate +NOT accepted/ms);
    assert.match(check(taken, "root-keys-tcb").reason, /made the keys is by today's documents OutOfDate/);
  } finally {
    await pccs.close();
  }
});

test("another code than demanded fails, and with nothing demanded that is said", async () => {
  assert.equal((await verify({ appId: "77".repeat(20) })).ok, false);
  assert.equal(check(await verify(), "identity").result, "not bound");
});

test("a bundle of a KMS gives the verdict offline, and none where keys or certificate were swapped", async () => {
  type Bundle = {
    subject: {
      certificates: string[];
      meta: { ca_cert: string; k256_pubkey: string; bootstrap_info: Record<string, string> | null };
    };
    images: object;
  };
  const judge = async (edit: (bundle: Bundle) => void = () => undefined): Promise<VerifyResult> => {
    const value = JSON.parse(await readFile(bundle, "utf8")) as Bundle;
    edit(value);
    const file = join(harness.folder, "edited.json");
    await writeFile(file, JSON.stringify(value));
    return verifyFile(cli(), file, { root: join(harness.folder, "root.pem") });
  };
  assert.equal((await judge()).ok, true);
  const { caCertificatePem } = await harness.tempCa();
  const cases: [string, (bundle: Bundle) => void, string, Check["result"]][] = [
    ["another k256 key", ({ subject }) => void (subject.meta.k256_pubkey = "02".repeat(33)), "root-keys", "fail"],
    [
      "bootstrap information over another key",
      ({ subject: { meta } }) => void (meta.bootstrap_info!["k256_pubkey"] = meta.k256_pubkey = "02".repeat(33)),
      "root-keys",
      "fail",
    ],
    [
      "bootstrap information over another CA",
      ({ subject }) => void (subject.meta.bootstrap_info!["ca_pubkey"] = "30"),
      "root-keys",
      "fail",
    ],
    [
      "bootstrap evidence cut short",
      ({ subject }) => void (subject.meta.bootstrap_info!["attestation"] = "00"),
      "root-keys",
      "fail",
    ],
    [
      "no bootstrap evidence",
      ({ subject }) => void Object.assign(subject.meta.bootstrap_info!, { attestation: "", quote: "" }),
      "root-keys",
      "not bound",
    ],
    ["no bootstrap information", ({ subject }) => void (subject.meta.bootstrap_info = null), "root-keys", "not bound"],
    [
      "the root CA as the listener's certificate",
      ({ subject }) => void (subject.certificates = [caCertificatePem]),
      "kms-certificate",
      "fail",
    ],
    ["no certificate", ({ subject }) => void (subject.certificates = []), "kms-certificate", "fail"],
    [
      "a root CA that is none",
      ({ subject }) => void (subject.meta.ca_cert = subject.certificates[0]!),
      "root-ca",
      "fail",
    ],
    ["no image", (value) => void (value.images = {}), "os-image", "not bound"],
  ];
  for (const [what, edit, name, outcome] of cases) {
    const result = await judge(edit);
    assert.equal(result.ok, false, what);
    assert.equal(check(result, name).result, outcome, `${what}: ${check(result, name).reason}`);
  }
});

test("a KMS without evidence is refused by that reason", async () => {
  await harness.kms.close();
  await harness.start({ "core.cert_dir": `"${harness.folder}/plain-keys"` });
  const result = await verify();
  assert.equal(result.ok, false);
  assert.match(check(result, "evidence").reason, /runs outside a TEE, or with attestation switched off/);
});
