import { test } from "node:test";
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { toHex } from "@dstack/bytes";
import { decodeAttestation, encodeAttestationV0, type Certificate } from "@dstack/attest";
import { generateP256 } from "@dstack/keys";
import { createAppCa, createLeaf, parseCertificates } from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { GatewayError } from "../src/errors.ts";
import { identifyClient, requireApp } from "../src/identity/client-identity.ts";
import { randomId, testKms, type Identity } from "./support/pki.ts";

const kms = testKms();
const roots: readonly Certificate[] = parseCertificates(kms.root.pem);
const app = randomId();
const instance = randomId();
const NOW = Math.floor(Date.now() / 1_000);

const ders = (identity: Pick<Identity, "certificatePem">): Uint8Array[] =>
  (identity.certificatePem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (pem) => new Uint8Array(new X509Certificate(pem).raw),
  );
const identify = (chain: readonly Uint8Array[], now = NOW) =>
  identifyClient(chain, { roots, now, verifyEvidence: undefined });
const refusedWith =
  (text: RegExp) =>
  (error: unknown): boolean =>
    error instanceof GatewayError && text.test(errorChain(error));

test("an app's certificate gives its ids, with or without the root in the chain", async () => {
  for (const chainLength of [2, 3]) {
    const identity = await identify(ders(kms.client({ appId: app, instanceId: instance, chainLength })));
    assert.deepEqual(identity, { appId: toHex(app), instanceId: toHex(instance), composeHash: "cc".repeat(32) });
  }
});

test("no certificate, or one without identity, is refused without the words that make old CVMs retry", async () => {
  for (const chain of [[], ders(kms.client({ appId: app, instanceId: instance, withoutAppInfo: true }))]) {
    await assert.rejects(
      identify(chain),
      (error) =>
        refusedWith(/neither app-info nor attestation provided/)(error) &&
        !errorChain(error).includes("no attestation provided"),
    );
  }
});

test("a certificate of another KMS is refused, also when it shows this KMS's root beside it", async () => {
  const foreign = ders(testKms().client({ appId: app, instanceId: instance }));
  const ownRoot = new Uint8Array(new X509Certificate(kms.root.pem).raw);
  await assert.rejects(identify(foreign), refusedWith(/not one that the KMS issued/));
  await assert.rejects(identify([...foreign.slice(0, 2), ownRoot]), refusedWith(/not signed|leads to no trusted root/));
});

test("a leaf without its issuer, a chain in the wrong order and a bent signature are refused", async () => {
  const [leaf, ca, root] = ders(kms.client({ appId: app, instanceId: instance })) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  await assert.rejects(identify([leaf]), refusedWith(/leads to no trusted root/));
  await assert.rejects(identify([leaf, root, ca]), refusedWith(/the next certificate is/));
  const bent = Uint8Array.from(leaf);
  bent[bent.length - 1]! ^= 1;
  await assert.rejects(identify([bent, ca, root]), refusedWith(/not signed|not one that the KMS issued/));
});

test("a certificate that an app issued with its own leaf's key is refused", async () => {
  const key = generateP256();
  const ca = createAppCa({ root: kms.root, key: generateP256(), appId: app, now: NOW });
  const leaf = createLeaf({
    issuer: ca,
    commonName: "x",
    publicPoint: key.publicPoint,
    appId: app,
    usage: "app:custom",
    now: NOW,
  });
  const victim = randomId();
  const forged = createLeaf({
    issuer: { ...leaf, key },
    commonName: "x",
    publicPoint: generateP256().publicPoint,
    appId: victim,
    usage: "app:custom",
    now: NOW,
  });
  await assert.rejects(
    identify(ders({ certificatePem: [forged.pem, leaf.pem, ca.pem].join("\n") })),
    refusedWith(/is no CA/),
  );
});

test("expired certificates are refused", async () => {
  const chain = ders(kms.client({ appId: app, instanceId: instance, notAfter: NOW + 100 }));
  await identify(chain);
  await assert.rejects(identify(chain, NOW + 101), refusedWith(/not valid now/));
});

test("certificates of another role or without client usage are refused (DS #1255)", async () => {
  await assert.rejects(
    identify(ders(kms.client({ appId: app, instanceId: instance, usage: "kms:rpc" }))),
    refusedWith(/usage is kms:rpc/),
  );
  await assert.rejects(
    identify(ders(kms.client({ appId: app, instanceId: instance, serverOnly: true }))),
    refusedWith(/not for client authentication/),
  );
});

test("app info of another app than the certificate names is refused", async () => {
  await assert.rejects(
    identify(ders(kms.client({ appId: app, instanceId: instance, namedAppId: randomId() }))),
    refusedWith(/names app/),
  );
});

test("ids of other lengths than 20 bytes are refused, no id is left to the registry", async () => {
  await assert.rejects(
    identify(ders(kms.client({ appId: app, instanceId: new Uint8Array(19) }))),
    refusedWith(/expected 20 bytes, got 19/),
  );
  assert.equal((await identify(ders(kms.client({ appId: app, instanceId: new Uint8Array() })))).instanceId, "");
});

test("evidence in a certificate is verified or the call fails; what it says counts where there is no app info", async () => {
  const attestation = decodeAttestation(
    encodeAttestationV0({
      platform: { kind: "tdx", quote: new Uint8Array(8), eventLog: [] },
      runtimeEvents: [],
      reportData: new Uint8Array(64),
      config: "",
    } as never),
  );
  const ca = createAppCa({ root: kms.root, key: generateP256(), appId: app, now: NOW });
  const leaf = createLeaf({
    issuer: ca,
    commonName: "x",
    publicPoint: generateP256().publicPoint,
    appId: app,
    usage: "app:custom",
    clientAuth: true,
    attestation,
    now: NOW,
  });
  const chain = ders({ certificatePem: [leaf.pem, ca.pem].join("\n") });
  await assert.rejects(identify(chain), refusedWith(/^invalid quote: this gateway has no collateral service/));
  await assert.rejects(
    identifyClient(chain, {
      roots,
      now: NOW,
      verifyEvidence: async () => {
        throw new Error("debug bit");
      },
    }),
    refusedWith(/^invalid quote: debug bit/),
  );
  const said = { appId: app, instanceId: instance, composeHash: new Uint8Array(32) } as never;
  assert.equal((await identifyClient(chain, { roots, now: NOW, verifyEvidence: async () => said })).appId, toHex(app));
});

test("peers are certificates with the gateway's own app id and no others", () => {
  const own = randomId();
  const options = { roots, now: NOW };
  requireApp(ders(kms.gateway(own, ["gateway.test"])), own, options);
  assert.throws(() => requireApp([], own, options), /Client authentication is required/);
  assert.throws(
    () => requireApp(ders(kms.gateway(randomId(), ["gateway.test"])), own, options),
    /Remote app id is not from dstack-gateway/,
  );
  assert.throws(() => requireApp(ders(kms.gateway(own, ["gateway.test"])), undefined, options), /Remote app id/);
});
