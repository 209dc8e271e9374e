import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { padReportData, type Attestation } from "@dstack/attest";
import { appId, toHex, utf8 } from "@dstack/bytes";
import { appKeySignature, generateP256, pkcs8Pem, secp256k1PublicKey } from "@dstack/keys";
import { kms } from "@dstack/proto";
import { createCa, createLeaf, decodeCsr, readDstackExtensions, USAGE, verifyCsr } from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { mount, route, RpcError, startHttpServer, type HttpServer } from "@dstack/rpc";
import { certificateIssuer } from "../src/keys/certificates.ts";
import { beginFirstContacts, requestKmsKeys, type KmsKeysOptions } from "../src/keys/kms-keys.ts";
import { GuestError } from "../src/errors.ts";
import { quietLog, recordedTee } from "../../../libs/agent/test/fixture.ts";

const now = Math.floor(Date.now() / 1000);
const app = appId(new Uint8Array(20).fill(3));
const rootK256 = new Uint8Array(32).fill(5);
const root = createCa({ commonName: "root", key: generateP256(), pathLength: 1, now });
const tempCa = createCa({ commonName: "temp", key: generateP256(), pathLength: 0, now });

interface FakeKms {
  readonly url: string;
  readonly calls: string[];
  readonly evidence: string[];
}

describe("keys from a KMS", () => {
  const servers: HttpServer[] = [];
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.close()));
  });

  /** A KMS at the wire: TLS, the reference's methods, whatever keys and certificate a test wants. */
  async function fakeKms(
    options: {
      usage?: string;
      port?: number;
      refuse?: string;
      keys?: Partial<{
        diskCryptKey: Uint8Array;
        envCryptKey: Uint8Array;
        k256Key: Uint8Array;
        k256Signature: Uint8Array;
        osImageHash: Uint8Array;
      }>;
      attestation?: Attestation;
    } = {},
  ): Promise<FakeKms> {
    const key = generateP256();
    const leaf = createLeaf({
      commonName: "kms",
      issuer: root,
      publicPoint: key.publicPoint,
      altNames: ["127.0.0.1"],
      serverAuth: true,
      now,
      ...(options.attestation === undefined ? {} : { attestation: options.attestation }),
      ...(options.usage === "" ? {} : { usage: options.usage ?? USAGE.kmsRpc }),
    });
    const calls: string[] = [];
    const evidence: string[] = [];
    const k256Key = new Uint8Array(32).fill(6);
    const good = {
      diskCryptKey: new Uint8Array(32).fill(1),
      envCryptKey: new Uint8Array(32).fill(2),
      k256Key,
      k256Signature: appKeySignature(rootK256, app, secp256k1PublicKey(k256Key)),
      osImageHash: new Uint8Array(32).fill(4),
    };
    const methods = kms.KMS.method;
    const server = await startHttpServer({
      listen: { host: "127.0.0.1", port: options.port ?? 0 },
      tls: { key: pkcs8Pem(key), cert: leaf.pem, requestClientCertificate: true },
      log: quietLog,
      mounts: [
        mount("/prpc/", {
          prefixes: ["KMS."],
          authenticate: async () => null,
          log: quietLog,
          routes: [
            route(methods.getTempCaCert, {
              auth: "any",
              handle: async () => {
                calls.push("GetTempCaCert");
                return { tempCaCert: tempCa.pem, tempCaKey: pkcs8Pem(tempCa.key), caCert: root.pem };
              },
            }),
            route(methods.getAppKey, {
              auth: "any",
              handle: async (_request, _caller, call) => {
                calls.push("GetAppKey");
                const [leaf] = call.peerCertificates;
                if (leaf !== undefined)
                  evidence.push(toHex(readDstackExtensions(leaf).attestation?.reportData ?? new Uint8Array()));
                if (options.refuse !== undefined) throw new RpcError("handler-failed", options.refuse);
                return { caCert: root.pem, gatewayAppId: "ab".repeat(20), ...good, ...options.keys };
              },
            }),
            route(methods.signCert, {
              auth: "any",
              handle: async ({ apiVersion, csr, signature }) => {
                calls.push("SignCert");
                const request = decodeCsr(apiVersion, csr);
                const publicPoint = verifyCsr(request, signature);
                const { subject, ...rest } = request.config;
                return {
                  certificateChain: [
                    createLeaf({ ...rest, commonName: subject, issuer: root, publicPoint, now }).pem,
                    root.pem,
                  ],
                };
              },
            }),
          ],
        }),
      ],
    });
    servers.push(server);
    return { url: `https://127.0.0.1:${server.port}`, calls, evidence };
  }

  const options = (urls: readonly string[], changes: Partial<KmsKeysOptions> = {}): KmsKeysOptions => ({
    urls,
    appId: app,
    vmConfig: "{}",
    tee: recordedTee(),
    pinnedProviderId: new Uint8Array(),
    firstContacts: new Map(),
    verifyEvidence: async () => undefined,
    log: quietLog,
    onWaiting: () => undefined,
    now: () => now,
    patienceMs: 5_000,
    ...changes,
  });

  it("come over a connection whose client certificate carries evidence for its own key", async () => {
    const kms = await fakeKms();
    const { keys, osImageHash } = await requestKmsKeys(options([kms.url]));
    assert.equal(toHex(keys.diskCryptKey), "01".repeat(32));
    assert.equal(toHex(osImageHash), "04".repeat(32));
    assert.equal(keys.gatewayAppId, "ab".repeat(20));
    assert.equal(kms.evidence.length, 1);
    assert.match(kms.evidence[0] ?? "", /^[0-9a-f]{128}$/);
    assert.ok(keys.provider.kind === "kms" && keys.provider.url.endsWith("/prpc"));
  });

  it("use the first contact that was begun while the app was measured", async () => {
    const kms = await fakeKms();
    await requestKmsKeys(options([kms.url], { firstContacts: beginFirstContacts([kms.url]) }));
    assert.deepEqual(kms.calls, ["GetTempCaCert", "GetAppKey"]);
  });

  it("are not asked of a peer that is no KMS, however its certificate chains (DS #1255)", async () => {
    for (const usage of [USAGE.appCustom, ""]) {
      const kms = await fakeKms({ usage });
      await assert.rejects(requestKmsKeys(options([kms.url])), { code: "keys-refused" });
      assert.deepEqual(kms.calls, ["GetTempCaCert"], "the request never left");
    }
  });

  it("are not asked of a KMS other than the pinned one", async () => {
    const kms = await fakeKms();
    await assert.rejects(requestKmsKeys(options([kms.url], { pinnedProviderId: utf8("other") })), {
      code: "keys-refused",
      message: /Unexpected key provider id/,
    });
    assert.deepEqual(kms.calls, ["GetTempCaCert"]);
  });

  it("are refused once: a refusal is final and its reason is kept", async () => {
    const kms = await fakeKms({ refuse: "Boot denied: compose hash is not allowed" });
    const error = await requestKmsKeys(options([kms.url])).then(
      () => undefined,
      (caught: Error) => caught,
    );
    assert.match(errorChain(error), /compose hash is not allowed/);
    assert.equal(kms.calls.filter((call) => call === "GetAppKey").length, 1);
  });

  it("come from the next KMS where the first is down, with the image hash measured by nobody twice (DS #1320)", async () => {
    const kms = await fakeKms();
    const { keys } = await requestKmsKeys(options(["https://127.0.0.1:1", kms.url]));
    assert.equal(keys.diskCryptKey.length, 32);
  });

  it("are waited for while no KMS is there, saying so", async () => {
    const free = await fakeKms();
    const port = Number(new URL(free.url).port);
    await Promise.all(servers.splice(0).map((server) => server.close()));
    const said: string[] = [];
    const pending = requestKmsKeys(options([free.url], { onWaiting: (why) => said.push(why), patienceMs: 30_000 }));
    setTimeout(() => void fakeKms({ port }), 500);
    await pending;
    assert.match(said[0] ?? "", /waiting for the KMS: .*next attempt in 1 s/);
  });

  it("are given up after a bounded time", async () => {
    await assert.rejects(requestKmsKeys(options(["https://127.0.0.1:1"], { patienceMs: 100 })), {
      code: "keys-unavailable",
    });
    await assert.rejects(requestKmsKeys(options([])), /No KMS URLs are set/);
  });

  it("are refused with wrong lengths and with a signature that is none", async () => {
    for (const keys of [
      { diskCryptKey: new Uint8Array(31) },
      { envCryptKey: new Uint8Array() },
      { k256Key: new Uint8Array(33) },
      { k256Signature: new Uint8Array(64) },
      { k256Signature: new Uint8Array(65).fill(9) },
      { osImageHash: new Uint8Array(31) },
    ]) {
      const kms = await fakeKms({ keys });
      await assert.rejects(
        requestKmsKeys(options([kms.url])),
        { code: "keys-invalid" },
        JSON.stringify(Object.keys(keys)),
      );
    }
  });

  for (const [code, what] of [
    ["keys-unavailable", "waited for"],
    ["keys-refused", "refused at once"],
  ] as const) {
    it(`are ${what} where the evidence of the KMS meets ${code}`, async () => {
      const attestation = await recordedTee().attest(padReportData(new Uint8Array(32)), "{}");
      const server = await fakeKms({ attestation });
      const judged: number[] = [];
      const keys = requestKmsKeys(
        options([server.url], {
          verifyEvidence: async () => {
            judged.push(judged.length);
            if (judged.length === 1) throw new GuestError(code, "first");
          },
        }),
      );
      await (code === "keys-unavailable" ? keys : assert.rejects(keys, { code }));
      assert.equal(judged.length > 1, code === "keys-unavailable");
    });
  }

  it("sign certificates through the same KMS", async () => {
    const server = await fakeKms();
    const { keys } = await requestKmsKeys(options([server.url]));
    const issuer = certificateIssuer({
      keys,
      tee: recordedTee(),
      vmConfig: "{}",
      verifyEvidence: async () => undefined,
      now: () => now,
    });
    const chain = await issuer.issue(generateP256(), {
      subject: "dstack-guest-agent",
      altNames: [],
      serverAuth: false,
      clientAuth: true,
      withEvidence: false,
      withAppInfo: true,
    });
    assert.equal(chain.length, 2);
    assert.ok(server.calls.includes("SignCert"));
  });
});
