import assert from "node:assert/strict";
import { createServer } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, mock, test } from "node:test";
import { equalBytes, parseHex, reportData, toHex } from "@dstack/bytes";
import { encodeEventLogJson, fullEventLog, reportDataFor } from "@dstack/attest";
import { generateP256, pkcs8Pem, spkiDer } from "@dstack/keys";
import { parseCertificates, readDstackExtensions } from "@dstack/ratls";
import { createRootCa } from "../src/certificates/kms-certificates.ts";
import { refreshAttestedCertificate } from "../src/self/rpc-certificate.ts";
import { KmsError } from "../src/errors.ts";
import type { KeyStore } from "../src/keys/key-store.ts";
import { kmsParts } from "../src/kms-parts.ts";
import { guestAgent } from "../src/self/guest-agent.ts";
import type { SelfAttestation } from "../src/self/self-attestation.ts";
import { Harness } from "./harness.ts";
import { startMockAgent, type MockAgent } from "./mock-agent.ts";

const HOUR_MS = 3_600_000;
let harness: Harness;
let agent: MockAgent;
before(async () => {
  harness = await Harness.create();
  agent = await startMockAgent(harness, join(harness.folder, "agent.sock"), "1");
});
after(async () => {
  agent?.close();
  await harness.close();
});

const zeros = reportData(new Uint8Array(64));
const unavailable =
  (part: RegExp) =>
  (error: unknown): boolean =>
    error instanceof KmsError &&
    error.code === "agent-unavailable" &&
    part.test(`${error.message} ${String(error.cause)}`);

test("reads evidence and vm_config from the agent's socket", async () => {
  const subject = guestAgent(agent.address);
  const wanted = reportDataFor("ratls-cert", Uint8Array.of(1));
  assert.ok(equalBytes((await subject.attest(wanted)).reportData, wanted));
  assert.equal(await subject.vmConfig(), agent.vmConfig);
});

test("evidence over anything but what was asked for is refused", async () => {
  agent.answerFor = () => new Uint8Array(64).fill(7);
  try {
    await assert.rejects(guestAgent(agent.address).attest(zeros), unavailable(/over other report data/));
  } finally {
    agent.answerFor = undefined;
  }
});

test("an agent of 0.5.5 is asked for quote and event log", async () => {
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      if (request.url !== "/GetQuote?json") return response.writeHead(404).end();
      const { attestation } = harness.guest({
        reportData: reportData(parseHex((JSON.parse(body) as { report_data: string }).report_data)),
      });
      return response.end(
        JSON.stringify({
          quote: toHex(attestation.platform.quote),
          event_log: encodeEventLogJson(fullEventLog(attestation)),
          vm_config: "{}",
        }),
      );
    });
  });
  const path = join(harness.folder, "old.sock");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    const { config, runtimeEvents } = await guestAgent(`unix:${path}`).attest(zeros);
    assert.equal(config, "{}");
    assert.ok(runtimeEvents.length > 0);
  } finally {
    server.close();
  }
});

test("an agent that is not there, or an address that is none, says what to do", async () => {
  await assert.rejects(
    guestAgent(`unix:${harness.folder}/nothing.sock`).attest(zeros),
    unavailable(/set core\.attest_rpc_cert and core\.enforce_self_authorization to false/),
  );
  await assert.rejects(
    guestAgent("tcp:1234").vmConfig(),
    (error: unknown) => error instanceof KmsError && error.code === "config-invalid",
  );
});

async function subject(
  clock: { now(): number },
  rootPath = join(harness.folder, "root.pem"),
): Promise<SelfAttestation> {
  const options = await harness.kmsOptions(
    { "core.attestation.root_ca.tdx": `"${rootPath}"` },
    { DSTACK_AGENT_ADDRESS: agent.address },
  );
  return (await kmsParts({ ...options, clock })).self;
}

test("its own evidence is verified once an hour, together for all who ask, and by the same rules as anybody's", async () => {
  let now = Date.now();
  const self = await subject({ now: () => now });
  const before = agent.quotes();
  const [first] = await Promise.all([self.bootInfo(), self.bootInfo()]);
  assert.deepEqual(
    [first.json["mrAggregated"], first.json["osImageHash"], first.json["tcbStatus"]],
    [agent.mrAggregated, harness.image.hash, "UpToDate"],
  );
  now += HOUR_MS - 1;
  await self.bootInfo();
  assert.equal(agent.quotes(), before + 1);
  now += 1;
  await self.bootInfo();
  assert.equal(agent.quotes(), before + 2);
  now -= 1;
  await self.bootInfo();
  assert.equal(agent.quotes(), before + 3, "a clock that was put back makes no evidence younger");

  const other = await Harness.create();
  try {
    const foreign = await subject(Date, join(other.folder, "root.pem"));
    await assert.rejects(
      foreign.bootInfo(),
      (error: unknown) => error instanceof KmsError && error.code === "self-evidence-invalid",
    );
  } finally {
    await other.close();
  }
});

test("the certificate gets fresh evidence while the listener serves, and keeps the old where there is none", async () => {
  const folder = await mkdtemp(join(tmpdir(), "kms-refresh-"));
  const timers = mock.timers;
  const rpcKey = generateP256();
  const keys = {
    rootCa: createRootCa(generateP256(), 1_700_000_000),
    rpcKey,
    rpcKeyPem: pkcs8Pem(rpcKey),
    domain: "kms.example",
  } as unknown as KeyStore;
  const shown: string[] = [];
  const served = Promise.withResolvers<void>();
  const self = await subject(Date);
  timers.enable({ apis: ["setInterval"] });
  const stop = refreshAttestedCertificate(
    {
      setSecureContext: ({ cert }) => {
        shown.push(String(cert));
        served.resolve();
      },
    },
    { keyFolder: folder, olderForm: true, keys, self, clock: Date, log: harness.sink.log },
  );
  try {
    timers.tick(6 * HOUR_MS);
    await served.promise;
    const [certificate] = parseCertificates(shown[0]!);
    assert.ok(
      equalBytes(
        readDstackExtensions(certificate!.raw).attestation!.reportData,
        reportDataFor("ratls-cert", spkiDer(rpcKey)),
      ),
    );
    agent.answerFor = () => new Uint8Array(64).fill(7);
    timers.tick(6 * HOUR_MS);
    for (let i = 0; i < 500 && !harness.sink.text.includes("keeps its older evidence"); i++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    assert.match(harness.sink.text, /keeps its older evidence/);
    assert.equal(shown.length, 1);
  } finally {
    agent.answerFor = undefined;
    stop();
    timers.reset();
    await rm(folder, { recursive: true });
  }
});
