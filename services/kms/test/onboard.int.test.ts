import { createServer as createPlainServer } from "node:http";
import type { AddressInfo } from "node:net";
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { equalBytes, parseHex, toHex } from "@dstack/bytes";
import { appInfo, decodeAttestation, generatedKeysReportData, reportDataFor } from "@dstack/attest";
import { generateP256, p256FromPem, pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
import { kms as proto } from "@dstack/proto";
import {
  attestedTransport,
  createTempClientCertificate,
  parseCertificates,
  readDstackExtensions,
  USAGE,
} from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { callRpc } from "@dstack/rpc";
import { KmsError } from "../src/errors.ts";
import { startKms, type Kms } from "../src/kms.ts";
import { startFakeSource, type FakeSource, type Shown } from "./fake-source.ts";
import { Harness } from "./harness.ts";
import { startMockAgent, type MockAgent } from "./mock-agent.ts";
import { startScriptedWebhook, type ScriptedWebhook } from "./scripted-webhook.ts";

const ATTESTED = { "core.attest_rpc_cert": "true", "core.enforce_self_authorization": "true" };
let harness: Harness;
let source: Kms;
let sourceAgent: MockAgent;
let ownAgent: MockAgent;
let sourceAuth: ScriptedWebhook;
let ownAuth: ScriptedWebhook;
const fakes: FakeSource[] = [];

before(async () => {
  harness = await Harness.create();
  sourceAgent = await startMockAgent(harness, join(harness.folder, "source.sock"), "1");
  ownAgent = await startMockAgent(harness, join(harness.folder, "own.sock"), "2");
  sourceAuth = await startScriptedWebhook();
  ownAuth = await startScriptedWebhook();
  allowEverybody();
  source = await harness.start(
    { ...ATTESTED, "core.auth_api.webhook.url": `"${sourceAuth.url}"` },
    { DSTACK_AGENT_ADDRESS: sourceAgent.address },
  );
});
after(async () => {
  for (const fake of fakes) fake.close();
  for (const part of [sourceAgent, ownAgent, sourceAuth, ownAuth]) part?.close();
  await harness.close();
});
beforeEach(() => {
  allowEverybody();
  ownAgent.answerFor = undefined;
  ownAgent.withoutConfig = false;
});

function allowEverybody(): void {
  for (const auth of [sourceAuth, ownAuth])
    for (const agent of [sourceAgent, ownAgent]) auth.kms.add(agent.mrAggregated);
}

const sourceUrl = (): string => `https://127.0.0.1:${source.server.port}/`;

interface SetUp {
  readonly folder: string;
  readonly call: (
    method: string,
    body: object,
  ) => Promise<{ readonly status: number; readonly json: Record<string, unknown> | null }>;
  readonly get: (path: string) => Promise<Record<string, unknown>>;
  /** Ends the set-up by whichever way; the KMS that serves from then on. */
  readonly kms: Promise<Kms>;
  /** Ends it without keys. */
  readonly abandon: () => Promise<void>;
}

let count = 0;
/** Ends the set-ups that a test left open because an assertion of it failed: they would keep the process alive. */
const stops: AbortController[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop.abort(new Error("test is over"));
});
/** A new KMS with an empty key folder, whose set-up listener answers. */
async function setUp(change: Readonly<Record<string, string>> = {}): Promise<SetUp> {
  const folder = join(harness.folder, `replica-${count++}`);
  const stop = new AbortController();
  stops.push(stop);
  const from = harness.sink.text.length;
  const options = await harness.kmsOptions(
    {
      ...ATTESTED,
      "core.cert_dir": `"${folder}"`,
      "core.auth_api.webhook.url": `"${ownAuth.url}"`,
      "core.onboard.auto_bootstrap_domain": '""',
      "core.onboard.address": '"127.0.0.1"',
      "core.onboard.port": "0",
      ...change,
    },
    { DSTACK_AGENT_ADDRESS: ownAgent.address },
  );
  const kms = startKms({ ...options, signal: stop.signal });
  kms.catch(() => undefined);
  let address: string | undefined;
  for (let waited = 0; address === undefined && waited < 60_000; waited += 20) {
    address = /"address":"([^"]+)"[^\n]*no keys yet/.exec(harness.sink.text.slice(from))?.[1];
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    folder,
    kms,
    get: async (path) => (await (await fetch(`http://${address}${path}`)).json()) as Record<string, unknown>,
    call: async (method, body) => {
      const answer = await fetch(`http://${address}/prpc/Onboard.${method}?json`, {
        method: "POST",
        body: JSON.stringify(body),
      });
      return { status: answer.status, json: (await answer.json()) as Record<string, unknown> | null };
    },
    abandon: async () => {
      stop.abort(new Error("test is over"));
      await assert.rejects(kms, (error: unknown) => error instanceof KmsError && error.code === "stopped");
    },
  };
}

const onboardBody = (url = sourceUrl()) => ({ source_url: url, domain: "127.0.0.1" });

/** What a refused onboarding says; nothing of it stays in the folder. */
async function refusalOf(url?: string, change?: Readonly<Record<string, string>>): Promise<string> {
  const replica = await setUp(change);
  const { status, json } = await replica.call("Onboard", onboardBody(url));
  assert.equal(status, 400, JSON.stringify(json));
  assert.deepEqual(
    (await readdir(replica.folder)).filter((name) => /\.(key|crt|json)$/.test(name) && name !== "audit.jsonl"),
    [],
  );
  await replica.abandon();
  return String(json?.["error"]);
}

test("the image of a VM whose evidence names none is the one that its agent knows", async () => {
  ownAgent.withoutConfig = true;
  const replica = await setUp();
  const info = (await replica.call("GetAttestationInfo", {})).json!;
  assert.equal(info["os_image_hash"], harness.image.hash, JSON.stringify(info));
  await replica.abandon();
});

test("a source that speaks no TLS is named so, in one sentence and none of OpenSSL's", async () => {
  const plain = createPlainServer((_request, response) => response.end("hello"));
  await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
  const { port } = plain.address() as AddressInfo;
  try {
    assert.equal(
      await refusalOf(`https://127.0.0.1:${port}`),
      `Failed to onboard: 127.0.0.1:${port} speaks no TLS on that port: is its set-up finished?`,
    );
  } finally {
    plain.closeAllConnections();
    plain.close();
  }
});

test("a KMS that was onboarded serves the very keys of its source", async () => {
  const replica = await setUp();
  const info = (await replica.call("GetAttestationInfo", {})).json!;
  assert.deepEqual(
    [
      info["mr_aggregated"],
      info["os_image_hash"],
      info["tee_variant"],
      info["attestation_mode"],
      info["ppid"],
      info["eth_rpc_url"],
      info["kms_contract_address"],
    ],
    [
      ownAgent.mrAggregated,
      harness.image.hash,
      "dstack-tdx",
      "dstack-tdx",
      "00".repeat(16),
      "https://chain.example",
      "0xabc",
    ],
  );
  assert.deepEqual(Object.keys((await replica.get("/openapi.json"))["paths"] as object), [
    ...["Bootstrap", "Onboard", "GetAttestationInfo", "Finish"].map((method) => `/prpc/${method}`),
    "/",
    "/health",
    "/state",
    "/finish",
    "/restore",
    "/restore/share",
    "/openapi.json",
  ]);
  assert.equal((await replica.call("Finish", {})).status, 400, "there is nothing to finish yet");
  const onboarded = await replica.call("Onboard", onboardBody());
  assert.equal(onboarded.status, 200, JSON.stringify(onboarded.json));
  // Before anybody has finished the set-up.
  const [line] = (await readFile(join(replica.folder, "audit.jsonl"), "utf8")).split("\n");
  const { action, outcome, domain, source: from, k256Pubkey } = JSON.parse(line ?? "") as Record<string, unknown>;
  assert.deepEqual(
    [action, outcome, domain, from, k256Pubkey],
    ["onboard", "onboarded", "127.0.0.1", sourceUrl(), onboarded.json?.["k256_pubkey"]],
  );
  assert.match(
    String((await replica.call("Onboard", onboardBody())).json?.["error"]),
    /^KMS has already been onboarded/,
  );
  assert.match(
    String((await replica.call("Bootstrap", { domain: "127.0.0.1" })).json?.["error"]),
    /^KMS has already been bootstrapped/,
  );
  assert.deepEqual(await replica.call("Finish", {}), { status: 200, json: null });
  const copy = await replica.kms;
  try {
    assert.deepEqual(await derivedBy(copy), await derivedBy(source));
    assert.equal(onboarded.json?.["k256_pubkey"], (await derivedBy(source)).meta.k256);
    const keys = async (folder: string, name: string): Promise<Buffer> => readFile(join(folder, name));
    const original = join(harness.folder, "keys");
    for (const name of ["root-ca.key", "tmp-ca.key", "root-k256.key"])
      assert.deepEqual(await keys(replica.folder, name), await keys(original, name), name);
    assert.notDeepEqual(await keys(replica.folder, "rpc.key"), await keys(original, "rpc.key"));
    await noRootKeyWasLogged(original);
    const handed = (await harness.auditLines()).find((line) => line["action"] === "kms-key");
    assert.deepEqual([handed?.["outcome"], handed?.["mrAggregated"]], ["released", ownAgent.mrAggregated]);
    assert.ok(
      sourceAuth.asked.includes("/bootAuth/kms") && ownAuth.asked.includes("/bootAuth/kms"),
      "both sides asked",
    );
  } finally {
    await copy.close();
  }
});

/** Everything that a KMS derives for one app, and what it says of itself. */
async function derivedBy(kms: Kms) {
  const own = harness.kms;
  harness.kms = kms;
  try {
    const guest = harness.guest();
    const { caCert: _certificate, $typeName: _type, ...keys } = await harness.getAppKey(guest);
    const { tempCa, caCertificatePem } = await harness.tempCa();
    const transport = attestedTransport({
      baseUrl: harness.baseUrl,
      trustedRoots: [caCertificatePem],
      peer: { kind: "kms" },
    });
    const environment = await callRpc(transport, proto.KMS.method.getAppEnvEncryptPubKey, {
      appId: parseHex("a1".repeat(20)),
    });
    const meta = await callRpc(transport, proto.KMS.method.getMeta, {});
    return {
      keys,
      environment: [toHex(environment.publicKey), toHex(environment.signature)],
      meta: { k256: toHex(meta.k256Pubkey), contract: meta.kmsContractAddress },
      root: toHex(parseCertificates(caCertificatePem)[0]!.publicKeyInfo),
      temporary: toHex(tempCa.key.scalar),
    };
  } finally {
    harness.kms = own;
  }
}

async function noRootKeyWasLogged(folder: string): Promise<void> {
  const scalars = [
    p256FromPem(await readFile(join(folder, "root-ca.key"), "utf8")).scalar,
    new Uint8Array(await readFile(join(folder, "root-k256.key"))),
  ];
  for (const scalar of scalars) {
    for (const text of [toHex(scalar), Buffer.from(scalar).toString("base64").replace(/=+$/, "")])
      assert.ok(!harness.sink.text.includes(text));
  }
  assert.ok(!harness.sink.text.includes("PRIVATE KEY"));
}

test("bootstrap shows evidence over both root keys, and the certificate evidence for its own", async () => {
  const first = await setUp();
  const { json } = await first.call("Bootstrap", { domain: "127.0.0.1" });
  const bootstrapped = json as Record<string, string>;
  const attestation = decodeAttestation(parseHex(bootstrapped["attestation"]!));
  assert.deepEqual(
    attestation.reportData,
    generatedKeysReportData(parseHex(bootstrapped["ca_pubkey"]!), parseHex(bootstrapped["k256_pubkey"]!)),
  );
  assert.equal(bootstrapped["quote"], toHex(attestation.platform.quote));
  assert.ok(bootstrapped["eventlog"]!.length > 0);
  await first.call("Finish", {});
  const kms = await first.kms;
  try {
    const [certificate] = parseCertificates(await readFile(join(first.folder, "rpc.crt"), "utf8"));
    const { attestation: shown, usage } = readDstackExtensions(certificate!.raw);
    assert.ok(equalBytes(shown!.reportData, reportDataFor("ratls-cert", certificate!.publicKeyInfo)));
    assert.equal(usage, USAGE.kmsRpc);
  } finally {
    await kms.close();
  }
});

test("a bootstrap that the auth server does not want makes no keys", async () => {
  ownAuth.kms.clear();
  const replica = await setUp();
  assert.equal(
    (await replica.call("Bootstrap", { domain: "127.0.0.1" })).json?.["error"],
    "KMS is not allowed to bootstrap: boot denied: not on the list",
  );
  assert.match(
    String((await replica.call("Bootstrap", { domain: "kms_.example" })).json?.["error"]),
    /^domain contains an invalid DNS label/,
  );
  await replica.abandon();
});

test("a source that our auth server does not allow gives us nothing", async () => {
  ownAuth.kms.delete(sourceAgent.mrAggregated);
  assert.equal(
    await refusalOf(),
    "Failed to onboard: Source KMS is not allowed for onboarding: boot denied: not on the list",
  );
});

test("the source hands nothing to a KMS that its auth server does not allow", async () => {
  sourceAuth.kms.delete(ownAgent.mrAggregated);
  assert.match(await refusalOf(), /^Failed to onboard: Boot denied: not on the list/);
  const refused = (await harness.auditLines()).findLast((line) => line["action"] === "kms-key");
  assert.deepEqual(
    [refused?.["outcome"], refused?.["mrAggregated"], refused?.["rule"]],
    ["refused", ownAgent.mrAggregated, "auth api"],
  );
});

test("a source that may not serve itself says so", async () => {
  sourceAuth.kms.delete(sourceAgent.mrAggregated);
  // The permission of a moment ago counts for a second.
  let text = "";
  for (let i = 0; i < 100 && !text.includes("KMS is not allowed"); i++) {
    text = await callRpc(unchecked(), proto.KMS.method.getTempCaCert, {}).then(() => "served", errorChain);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(text, "KMS self authorization failed: KMS is not allowed: not on the list");
  assert.match(await refusalOf(), /KMS self authorization failed: KMS is not allowed: not on the list/);
  for (const [method, body] of [
    ["GetAppKey", { api_version: 1 }],
    ["GetKmsKey", {}],
    ["SignCert", {}],
    ["GetAppEnvEncryptPubKey", { app_id: "a1".repeat(20) }],
  ] as const) {
    assert.match(await harness.post(method, body), /^KMS self authorization failed: KMS is not allowed/, method);
  }
  assert.doesNotMatch(await harness.post("GetMeta", {}), /^KMS self/);
  allowEverybody();
  await callRpc(unchecked(), proto.KMS.method.getTempCaCert, {});
});

const unchecked = () =>
  attestedTransport({
    baseUrl: `${sourceUrl()}prpc`,
    trustedRoots: "evidence-only",
    peer: { kind: "kms" },
    verifyEvidence: async () => undefined,
  });

test("a client certificate with evidence for another key gets no root key", async () => {
  ownAgent.answerFor = (asked) =>
    asked.every((byte) => byte === 0) ? asked : reportDataFor("ratls-cert", spkiDer(generateP256()));
  assert.match(await refusalOf(), /^Failed to onboard: guest agent .* the evidence is over other report data/);
  const { tempCa } = await harness.tempCa();
  const key = generateP256();
  const { attestation, vmConfig } = harness.guest();
  const certificate = createTempClientCertificate({ tempCa, key, attestation, now: Math.floor(Date.now() / 1000) });
  const transport = attestedTransport({
    baseUrl: harness.baseUrl,
    trustedRoots: "evidence-only",
    peer: { kind: "kms" },
    verifyEvidence: async () => undefined,
    identity: { certificatePem: certificate.pem, keyPem: pkcs8Pem(key) },
  });
  await assert.rejects(
    callRpc(transport, proto.KMS.method.getKmsKey, { vmConfig }),
    /invalid quote: .*report data mismatch/,
  );
});

test("root keys never leave a KMS with an insecure setting of the reference (#609)", async () => {
  for (const [change, setting] of [
    [{ "core.auth_api.type": '"dev"' }, 'core.auth_api.type = "dev"'],
    [{ "core.image.verify": "false" }, "core.image.verify = false"],
    [{ "core.onboard.quote_enabled": "false" }, "core.onboard.quote_enabled = false"],
  ] as const) {
    const insecure = await startKms(
      await harness.kmsOptions(
        {
          ...ATTESTED,
          "core.cert_dir": `"${harness.folder}/keys-${setting.length}"`,
          "core.auth_api.webhook.url": `"${sourceAuth.url}"`,
          ...change,
        },
        { DSTACK_AGENT_ADDRESS: sourceAgent.address },
      ),
    );
    try {
      assert.equal(
        await refusalOf(`https://127.0.0.1:${insecure.server.port}`),
        `Failed to onboard: root keys are never handed out while ${setting} is in force`,
      );
      assert.match(harness.sink.text, /insecure settings are in force/);
    } finally {
      await insecure.close();
    }
  }
});

async function fakeSource(shown: readonly [Shown, ...Shown[]], handed?: P256Key): Promise<string> {
  const fake = await startFakeSource(harness, shown, handed);
  fakes.push(fake);
  return fake.url;
}

test("a source of another role, without evidence, or with evidence for another key is refused (DS #1255)", async () => {
  const key = generateP256();
  assert.match(
    await refusalOf(await fakeSource([{ key, usage: USAGE.appCustom }])),
    /^Failed to onboard: .*Invalid server cert usage: app:custom \(expected kms:rpc\)/,
  );
  assert.match(
    await refusalOf(await fakeSource([{ key, unattested: true }])),
    /^Failed to onboard: .*carries no evidence/,
  );
  assert.match(
    await refusalOf(await fakeSource([{ key, evidenceFor: generateP256() }])),
    /^Failed to onboard: .*report data mismatch/,
  );
  for (const url of ["http://127.0.0.1:1", "https://user@127.0.0.1:1", "", "file:///etc"])
    assert.match(await refusalOf(url), /source_url: expected https/);
});

test("the keys come from the very key that was authorized, and belong to the root that was shown (DS #1237)", async () => {
  const { attestation } = harness.guest();
  ownAuth.kms.add(toHex(appInfo({ attestation }).mrAggregated));
  const key = generateP256();
  assert.match(
    await refusalOf(await fakeSource([{ key }, { key: generateP256() }])),
    /^Failed to onboard: .*presented another key than the one that was authorized/,
  );
  assert.match(
    await refusalOf(await fakeSource([{ key }], generateP256())),
    /^Failed to onboard: Invalid keys: the root key does not belong/,
  );
});

test("neither side takes the auth server's word for an image that does not measure to the evidence", async () => {
  const files = { ...harness.image.files, cmdline: `${harness.image.files.cmdline} debug` };
  const { attestation, key, vmConfig } = harness.guest({ files });
  const swapped = toHex(appInfo({ attestation }).mrAggregated);
  ownAuth.kms.add(swapped);
  assert.match(
    await refusalOf(await fakeSource([{ key: generateP256(), files }])),
    /^Failed to onboard: Source KMS is not allowed for onboarding: Failed to verify os image hash: .*RTMR2 does not match/,
  );

  sourceAuth.kms.add(swapped);
  const { tempCa } = await harness.tempCa();
  const certificate = createTempClientCertificate({ tempCa, key, attestation, now: Math.floor(Date.now() / 1000) });
  const transport = attestedTransport({
    baseUrl: harness.baseUrl,
    trustedRoots: "evidence-only",
    peer: { kind: "kms" },
    verifyEvidence: async () => undefined,
    identity: { certificatePem: certificate.pem, keyPem: pkcs8Pem(key) },
  });
  await assert.rejects(
    callRpc(transport, proto.KMS.method.getKmsKey, { vmConfig }),
    /Failed to verify os image hash: .*RTMR2 does not match/,
  );
});

test("evidence of the newer form that names no VM configuration is refused, whatever the settings list (DS #1313)", async () => {
  const { attestation } = harness.guest();
  const measured = toHex(appInfo({ attestation }).mrAggregated);
  ownAuth.kms.add(measured);
  const source = await fakeSource([{ key: generateP256(), withoutConfig: true }]);
  assert.match(
    await refusalOf(source, { "core.onboard.legacy_source_mr_aggregated": `["${measured}"]` }),
    /^Failed to onboard: Source KMS is not allowed for onboarding: its evidence names no VM configuration/,
  );
});

test("a source of 0.5.8 or older that is not listed is refused, by its register where its image is not ours (DS #1313)", async () => {
  const files = { ...harness.image.files, cmdline: `${harness.image.files.cmdline} rogue=1` };
  for (const [shown, found] of [
    [{ files }, /; its RTMR2 is [0-9a-f]{96}, and that of our own image is [0-9a-f]{96}\./],
    [{}, /; its MRTD, RTMR1 and RTMR2 are those of our own image\./],
  ] as const) {
    const { attestation } = harness.guest(shown);
    const measured = toHex(appInfo({ attestation }).mrAggregated);
    ownAuth.kms.add(measured);
    for (const listed of ["[]", `["${"00".repeat(32)}"]`]) {
      const text = await refusalOf(await fakeSource([{ key: generateP256(), legacy: true, ...shown }]), {
        "core.onboard.legacy_source_mr_aggregated": listed,
      });
      assert.match(
        text,
        /^Failed to onboard: Source KMS is not allowed for onboarding: its certificate names no OS image/,
      );
      assert.match(text, found);
      assert.match(text, new RegExp(`core\\.onboard\\.legacy_source_mr_aggregated .*${measured}`));
    }
  }
});

test("a source of 0.5.8 or older that is listed still needs the auth server, which is told of our image (DS #1313)", async () => {
  const { attestation } = harness.guest();
  const measured = toHex(appInfo({ attestation }).mrAggregated);
  const listed = { "core.onboard.legacy_source_mr_aggregated": `["0x${measured.toUpperCase()}"]` };
  ownAuth.kms.delete(measured);
  const key = generateP256();
  assert.match(
    await refusalOf(await fakeSource([{ key, legacy: true }]), listed),
    /Source KMS is not allowed for onboarding: boot denied/,
  );
  assert.deepEqual([ownAuth.lastKms["osImageHash"], ownAuth.lastKms["mrAggregated"]], [harness.image.hash, measured]);
  ownAuth.kms.add(measured);
  const replica = await setUp(listed);
  const answer = await replica.call("Onboard", onboardBody(await fakeSource([{ key, legacy: true }])));
  assert.equal(answer.status, 200, JSON.stringify(answer.json));
  await replica.abandon();
});
