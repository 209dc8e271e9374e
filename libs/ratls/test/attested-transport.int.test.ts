import assert from "node:assert/strict";
import { createServer, type Server } from "node:https";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { after, test } from "node:test";
import { appId, type AppId } from "@dstack/bytes";
import { reportDataFor, type Attestation } from "@dstack/attest";
import { generateP256, pkcs8Pem, spkiDer } from "@dstack/keys";
import { kms } from "@dstack/proto";
import { errorChain } from "@dstack/errors";
import { callRpc } from "@dstack/rpc";
import {
  RatlsError,
  attestedTransport,
  createAppCa,
  createCa,
  createLeaf,
  createTempClientCertificate,
  fetchTempCaUnverified,
  type EvidenceVerifier,
  type PeerRule,
  type SigningCa,
} from "@dstack/ratls";

const NOW = Math.floor(Date.now() / 1000);
const root = createCa({
  organization: "Dstack",
  commonName: "Dstack KMS CA",
  key: generateP256(),
  pathLength: 1,
  now: NOW,
});
const APP = appId(new Uint8Array(20).fill(1));
const servers: Server[] = [];
after(() => servers.forEach((server) => server.close()));

interface Peer {
  readonly url: string;
  readonly requests: () => number;
}

/** A TLS server with this certificate that counts the requests it sees. */
async function peer(options: {
  readonly issuer?: SigningCa;
  readonly usage?: string;
  readonly appId?: AppId;
  readonly altNames?: readonly string[];
  readonly chain?: readonly SigningCa[];
  readonly evidence?: boolean;
  readonly answer?: string;
}): Promise<Peer> {
  const key = generateP256();
  const attestation: Attestation = {
    platform: { kind: "tdx", quote: new Uint8Array(9), eventLog: [] },
    runtimeEvents: [],
    reportData: reportDataFor("ratls-cert", spkiDer(key)),
    config: "",
  };
  const leaf = createLeaf({
    commonName: "peer",
    issuer: options.issuer ?? root,
    publicPoint: key.publicPoint,
    altNames: options.altNames ?? ["127.0.0.1"],
    now: NOW,
    ...(options.usage === undefined ? {} : { usage: options.usage }),
    ...(options.appId === undefined ? {} : { appId: options.appId }),
    ...(options.evidence === true ? { attestation } : {}),
  });
  let requests = 0;
  const cert = [leaf.pem, ...(options.chain ?? []).map((ca) => ca.pem)].join("");
  const server = createServer({ key: pkcs8Pem(key), cert }, (request, response) => {
    requests++;
    request.resume();
    response.end(options.answer ?? "{}");
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A request that was sent shows as soon as its headers are read; TLS bytes alone do not count.
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/prpc`, requests: () => requests };
}

const call = async (url: string, rule: PeerRule, verifyEvidence?: () => Promise<void>): Promise<string> => {
  const transport = attestedTransport({
    baseUrl: url,
    trustedRoots: [root.pem],
    peer: rule,
    ...(verifyEvidence === undefined ? {} : { verifyEvidence }),
  });
  try {
    await callRpc(transport, kms.KMS.method.getMeta, {}, { timeoutMs: 60_000 });
    return "answered";
  } catch (error) {
    return errorChain(error);
  }
};

test("talks to the KMS where chain, name and role hold", async () => {
  const server = await peer({ usage: "kms:rpc" });
  assert.equal(await call(server.url, { kind: "kms" }), "answered");
  assert.equal(server.requests(), 1);
});

test("an app's certificate under the same root does not pass as the KMS, and sees no request (DS #1255)", async () => {
  const app = createAppCa({ root, key: generateP256(), appId: APP, now: NOW });
  const server = await peer({ issuer: app, chain: [app], usage: "app:custom", appId: APP });
  assert.match(await call(server.url, { kind: "kms" }), /Invalid server cert usage: app:custom/);
  assert.equal(server.requests(), 0);
  assert.equal(await call(server.url, { kind: "app", appId: APP }), "answered");
});

test("another app's certificate does not pass as the app, nor does the KMS's", async () => {
  const other = appId(new Uint8Array(20).fill(2));
  const app = createAppCa({ root, key: generateP256(), appId: other, now: NOW });
  const server = await peer({ issuer: app, chain: [app], usage: "app:custom", appId: other });
  assert.match(await call(server.url, { kind: "app", appId: APP }), /Invalid app id: 0202/);
  assert.match(await call((await peer({ usage: "app:custom" })).url, { kind: "app", appId: APP }), /Missing app id/);
  assert.match(
    await call((await peer({ usage: "kms:rpc" })).url, { kind: "app", appId: APP }),
    /Invalid server cert usage: kms:rpc/,
  );
  assert.equal(server.requests(), 0);
});

test("refuses a certificate without usage, of another root, or for another host (DS #1237)", async () => {
  const plain = await peer({});
  assert.match(await call(plain.url, { kind: "kms" }), /missing server cert usage/);
  const foreign = await peer({
    issuer: createCa({
      organization: "Dstack",
      commonName: "Dstack KMS CA",
      key: generateP256(),
      pathLength: 1,
      now: NOW,
    }),
    usage: "kms:rpc",
  });
  assert.match(await call(foreign.url, { kind: "kms" }), /could not be called/);
  const elsewhere = await peer({ usage: "kms:rpc", altNames: ["10.0.2.2", "kms.example"] });
  assert.match(await call(elsewhere.url, { kind: "kms" }), /altnames|Hostname/i);
  for (const server of [plain, foreign, elsewhere]) assert.equal(server.requests(), 0);
});

test("a dialled address may differ from the name that the certificate must be for", async () => {
  const server = await peer({ usage: "kms:rpc", altNames: ["10.0.2.2"] });
  const ask = (expectedHost: string): Promise<unknown> =>
    callRpc(
      attestedTransport({ baseUrl: server.url, trustedRoots: [root.pem], peer: { kind: "kms" }, expectedHost }),
      kms.KMS.method.getMeta,
      {},
      { timeoutMs: 60_000 },
    );
  await ask("10.0.2.2");
  await assert.rejects(ask("10.0.2.3"), /altnames/);
  assert.equal(server.requests(), 1);
});

test("evidence in the certificate is verified before the request leaves", async () => {
  const server = await peer({ usage: "kms:rpc", evidence: true });
  assert.match(
    await call(server.url, { kind: "kms" }, () => Promise.reject(new Error("quote is forged"))),
    /quote is forged/,
  );
  assert.equal(server.requests(), 0);
  assert.equal(await call(server.url, { kind: "kms" }, () => Promise.resolve()), "answered");
});

test("where no root is known yet, evidence alone vouches, and no request leaves without it (DS #1237)", async () => {
  const stranger = createCa({ commonName: "x", key: generateP256(), pathLength: 0, now: NOW });
  const shown = await peer({ issuer: stranger, usage: "kms:rpc", evidence: true, altNames: ["kms.example"] });
  const plain = await peer({ issuer: stranger, usage: "kms:rpc" });
  const app = await peer({ issuer: stranger, usage: "app:custom", evidence: true });
  const ask = async (url: string, verifyEvidence: EvidenceVerifier): Promise<string> => {
    const transport = attestedTransport({
      baseUrl: url,
      trustedRoots: "evidence-only",
      peer: { kind: "kms" },
      verifyEvidence,
    });
    return callRpc(transport, kms.KMS.method.getMeta, {}, { timeoutMs: 60_000 }).then(() => "answered", errorChain);
  };
  assert.match(await ask(shown.url, () => Promise.reject(new Error("quote is forged"))), /quote is forged/);
  assert.match(await ask(plain.url, () => Promise.resolve()), /carries no evidence/);
  assert.match(await ask(app.url, () => Promise.resolve()), /Invalid server cert usage/);
  for (const server of [shown, plain, app]) assert.equal(server.requests(), 0);
  assert.equal(await ask(shown.url, () => Promise.resolve()), "answered");
});

test("shows its own certificate where it is given one, and reads no answer above the limit", async () => {
  const mine = createTempClientCertificate({
    tempCa: root,
    key: root.key,
    attestation: {
      platform: { kind: "tdx", quote: new Uint8Array(9), eventLog: [] },
      runtimeEvents: [],
      reportData: reportDataFor("ratls-cert", spkiDer(root.key)),
      config: "",
    },
    now: NOW,
  });
  const seen: (string | undefined)[] = [];
  const key = generateP256();
  const leaf = createLeaf({
    commonName: "kms",
    issuer: root,
    publicPoint: key.publicPoint,
    altNames: ["127.0.0.1"],
    usage: "kms:rpc",
    now: NOW,
  });
  const server = createServer(
    { key: pkcs8Pem(key), cert: leaf.pem, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      seen.push((request.socket as TLSSocket).getPeerX509Certificate()?.subject);
      request.resume();
      response.end(`{}${" ".repeat(2_000)}`);
    },
  );
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const ask = (more: object): Promise<string> => {
    const transport = attestedTransport({
      baseUrl: `https://127.0.0.1:${(server.address() as AddressInfo).port}/prpc`,
      trustedRoots: [root.pem],
      peer: { kind: "kms" },
      ...more,
    });
    return callRpc(transport, kms.KMS.method.getMeta, {}, { timeoutMs: 60_000 }).then(() => "answered", errorChain);
  };
  assert.equal(await ask({}), "answered");
  assert.equal(await ask({ identity: { certificatePem: mine.pem, keyPem: pkcs8Pem(root.key) } }), "answered");
  assert.deepEqual(seen, [undefined, "CN=RA-TLS TEMP Cert"]);
  assert.match(await ask({ maxAnswerBytes: 1_000 }), /answer exceeds 1000 bytes/);
});

test("first contact ends when its caller or its time does", async () => {
  const silent = createTcpServer((socket) => socket.on("error", () => undefined));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const baseUrl = `https://127.0.0.1:${(silent.address() as AddressInfo).port}/prpc`;
  await assert.rejects(fetchTempCaUnverified({ baseUrl, timeoutMs: 20 }), /no answer within 20 ms/);
  const gone = new AbortController();
  gone.abort();
  await assert.rejects(fetchTempCaUnverified({ baseUrl, signal: gone.signal, timeoutMs: 60_000 }), /abort/);
  silent.close();
});

test("refuses to speak without TLS", async () => {
  assert.throws(
    () => attestedTransport({ baseUrl: "http://127.0.0.1/prpc", trustedRoots: [root.pem], peer: { kind: "kms" } }),
    (error) => error instanceof RatlsError && error.code === "peer-refused" && /needs https/.test(error.message),
  );
  await assert.rejects(fetchTempCaUnverified({ baseUrl: "http://127.0.0.1/prpc" }), /needs https/);
});

test("first contact reads the temporary CA from an unknown server and checks that its parts fit", async () => {
  const temp = createCa({
    organization: "Dstack",
    commonName: "Dstack Client Temp CA",
    key: generateP256(),
    pathLength: 0,
    now: NOW,
  });
  const stranger = createCa({ commonName: "x", key: generateP256(), pathLength: 0, now: NOW });
  const good = await peer({
    issuer: stranger,
    answer: JSON.stringify({ temp_ca_cert: temp.pem, temp_ca_key: pkcs8Pem(temp.key), ca_cert: root.pem }),
  });
  const answer = await fetchTempCaUnverified({ baseUrl: good.url, timeoutMs: 60_000 });
  assert.deepEqual(answer.tempCa.key, temp.key);
  assert.equal(answer.caCertificatePem, root.pem);
  const bad = await peer({
    issuer: stranger,
    answer: JSON.stringify({ temp_ca_cert: root.pem, temp_ca_key: pkcs8Pem(temp.key), ca_cert: root.pem }),
  });
  await assert.rejects(fetchTempCaUnverified({ baseUrl: bad.url, timeoutMs: 60_000 }), /does not match private key/);
});
