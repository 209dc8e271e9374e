import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { once } from "node:events";
import { gateway } from "@dstack/proto";
import { attestedTransport } from "@dstack/ratls";
import { callRpc } from "@dstack/rpc";
import { generateWireGuardKeys, parseNetwork } from "@dstack/wireguard";
import { interpretConfig } from "../src/config/gateway-config.ts";
import { gatewaySchema } from "../src/config/schema.ts";
import { Certificates } from "../src/proxy/certificates.ts";
import { Registry } from "../src/registration/registry.ts";
import { startMainListener } from "../src/rpc/main-listener.ts";
import { assertTlsSettings } from "../../../libs/http/test/tls-listener.ts";
import { memoryLog } from "./support/log.ts";
import { randomId, testKms, type Identity } from "./support/pki.ts";

const kms = testKms();
const ownAppId = randomId();

async function listening(t: { after: (fn: () => Promise<void>) => void }, rpcDomain = "") {
  const folder = await mkdtemp(join(tmpdir(), "dstack-gateway-rpc-"));
  const rpc = kms.gateway(ownAppId, ["127.0.0.1"]);
  const files = { key: join(folder, "rpc.key"), certs: join(folder, "rpc.cert"), ca: join(folder, "ca.cert") };
  await Promise.all([
    writeFile(files.key, rpc.keyPem),
    writeFile(files.certs, rpc.certificatePem),
    writeFile(files.ca, kms.root.pem),
  ]);
  const config = interpretConfig(
    gatewaySchema.parse({
      address: "127.0.0.1:0",
      tls: { key: files.key, certs: files.certs, mutual: { ca_certs: files.ca } },
      core: { rpc_domain: rpcDomain, wg: { private_key: generateWireGuardKeys().privateKey } },
    }),
    {},
  );
  const { log, lines } = memoryLog();
  const registry = new Registry({ ip: parseNetwork("10.0.0.1/24"), reserved: [], pool: parseNetwork("10.0.0.0/25") });
  const listener = await startMainListener({
    config,
    uuid: "00".repeat(16),
    verifyEvidence: undefined,
    now: Date.now,
    log,
    certificates: new Certificates({ source: undefined, tlsVersions: ["1.2"], log, now: Date.now }),
    register: async (request) => registry.register(request, 1),
    countRegistration: () => undefined,
  });
  t.after(async () => {
    await listener.close();
    await rm(folder, { recursive: true });
  });
  return { url: `https://127.0.0.1:${listener.port}/prpc`, port: listener.port, registry, lines };
}

const transport = (url: string, identity?: Identity) =>
  attestedTransport({
    baseUrl: url,
    trustedRoots: [kms.root.pem],
    peer: { kind: "app", appId: ownAppId },
    ...(identity === undefined ? {} : { identity }),
  });
const register = (url: string, identity?: Identity) =>
  callRpc(transport(url, identity), gateway.Gateway.method.registerCvm, {
    clientPublicKey: generateWireGuardKeys().publicKey,
  });

test("a CVM's certificate registers over mutual TLS; none, or one of another KMS, does not", async (t) => {
  const { url, registry } = await listening(t);
  const answer = await register(url, kms.client({ appId: randomId(), instanceId: randomId() }));
  assert.equal(answer.wg?.clientIp, "10.0.0.2");
  await assert.rejects(register(url), /neither app-info nor attestation/);
  await assert.rejects(
    register(url, testKms().client({ appId: randomId(), instanceId: randomId() })),
    /not one that the KMS issued/,
  );
  await assert.rejects(
    register(url, kms.client({ appId: randomId(), instanceId: randomId(), chainLength: 1 })),
    /leads to no trusted root/,
  );
  assert.equal(registry.size, 1);
});

test("a peer with the gateway's app id gets the peers, an app does not", async (t) => {
  const { url } = await listening(t);
  const peers = await callRpc(transport(url, kms.gateway(ownAppId, ["x.test"])), gateway.Gateway.method.getPeers, {});
  assert.equal(peers.peers.length, 1);
  await assert.rejects(
    callRpc(
      transport(url, kms.client({ appId: randomId(), instanceId: randomId() })),
      gateway.Gateway.method.getPeers,
      {},
    ),
    /Remote app id/,
  );
});

test("a certificate that does not carry core.rpc_domain is warned of", async (t) => {
  const warnings = async (domain: string): Promise<string[]> =>
    (await listening(t, domain)).lines.filter((line) => line.includes("core.rpc_domain"));
  assert.deepEqual([...(await warnings("")), ...(await warnings("127.0.0.1"))], []);
  assert.match((await warnings("gateway.example.org")).join(), /gateway\.example\.org.*does not carry this name/);
});

test("TLS sessions are never resumed, so that every connection shows its chain", async (t) => {
  const { port } = await listening(t);
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    let session: Buffer | undefined;
    const dial = async (): Promise<boolean> => {
      const socket = connect({
        host: "127.0.0.1",
        port,
        ca: kms.root.pem,
        maxVersion,
        ...(session === undefined ? {} : { session }),
      });
      socket.on("session", (ticket: Buffer) => {
        session = ticket;
      });
      await once(socket, "secureConnect");
      const reused = socket.isSessionReused();
      socket.write("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      socket.resume();
      await once(socket, "close");
      return reused;
    };
    await dial();
    assert.equal(await dial(), false, maxVersion);
  }
});

test("agrees with CVMs on TLS settings of today alone, and on no second handshake", async (t) => {
  const { port } = await listening(t);
  await assertTlsSettings({ port });
});
