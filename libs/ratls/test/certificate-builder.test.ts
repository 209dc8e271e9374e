import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { appId, parseHex, toHex, utf8 } from "@dstack/bytes";
import { decodeAppInfo, encodeAppInfo, parseCertificate, reportDataFor, type Attestation } from "@dstack/attest";
import { readPem } from "@dstack/der";
import { generateP256, p256FromPem, p256FromScalar, pkcs8Pem, spkiDer } from "@dstack/keys";
import {
  createAppCa,
  createCa,
  createLeaf,
  createTempClientCertificate,
  ipOctets,
  loadCa,
  RatlsError,
  readDstackExtensions,
  verifyCertificateChain,
} from "@dstack/ratls";
import { recordedTest } from "../../../tests/vectors/vector-sets.ts";

const NOW = 1_764_000_000;
const APP = appId(new Uint8Array(20).fill(0x11));
const root = createCa({
  organization: "Dstack",
  commonName: "Dstack KMS CA",
  key: generateP256(),
  pathLength: 1,
  now: NOW,
});

const code = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof RatlsError, String(error));
    return error.code;
  }
  return "accepted";
};

const attestation = (publicKeyInfo: Uint8Array): Attestation => ({
  platform: { kind: "tdx", quote: new Uint8Array(64).fill(9), eventLog: [] },
  runtimeEvents: [{ event: "app-id", payload: APP }],
  reportData: reportDataFor("ratls-cert", publicKeyInfo),
  config: "{}",
});

recordedTest("writes the reference's root certificate byte for byte, signature apart", ({ json }) => {
  const { ca_cert: pem, key_provider: provider } = json<{ ca_cert: string; key_provider: { None: { key: string } } }>(
    "kms/simulator-appkeys.json",
  );
  const theirs = parseCertificate(readPem(pem, "CERTIFICATE")[0]!);
  const ours = createCa({
    organization: "Dstack",
    commonName: "Dstack KMS CA",
    key: p256FromPem(provider.None.key),
    pathLength: 1,
    notAfter: theirs.notAfter,
    now: 0,
  });
  assert.equal(toHex(ours.certificate.tbs), toHex(theirs.tbs));
  assert.equal(ours.certificate.serial, "53bf34d7e92b0acd8ea487677b7b7a396ac9d9f3");
  assert.equal(loadCa(pem, provider.None.key).certificate.notBefore, 157_766_400);
  verifyCertificateChain({ chain: [ours.certificate], roots: [theirs], now: 1_764_000_000 });
});

test("OpenSSL accepts a chain of root, app CA and leaf with all extensions", () => {
  const app = createAppCa({ root, key: generateP256(), appId: APP, now: NOW });
  const key = generateP256();
  const info = encodeAppInfo({
    appId: APP,
    composeHash: utf8("c"),
    instanceId: utf8("i"),
    deviceId: utf8("d"),
    mrSystem: new Uint8Array(32),
    mrAggregated: new Uint8Array(32),
    osImageHash: utf8("o"),
    keyProviderInfo: utf8("k"),
  });
  const leaf = createLeaf({
    organization: "Org",
    commonName: "app.example.com",
    issuer: app,
    publicPoint: key.publicPoint,
    altNames: ["app.example.com", "*.example.com", "10.0.2.2", "fd00::1"],
    serverAuth: true,
    clientAuth: true,
    usage: "app:custom",
    appId: APP,
    appInfo: info,
    attestation: attestation(spkiDer(key)),
    now: NOW,
  });
  const x509 = new X509Certificate(leaf.pem);
  assert.equal(
    x509.subjectAltName,
    "DNS:app.example.com, DNS:*.example.com, IP Address:10.0.2.2, IP Address:FD00:0:0:0:0:0:0:1",
  );
  assert.equal(x509.subject, "O=Org\nCN=app.example.com");
  assert.ok(x509.checkIssued(new X509Certificate(app.pem)));
  assert.ok(x509.verify(new X509Certificate(app.pem).publicKey));
  assert.ok(new X509Certificate(app.pem).ca);
  const read = readDstackExtensions(leaf.certificate.raw);
  assert.equal(read.usage, "app:custom");
  assert.deepEqual(read.appId, APP);
  assert.deepEqual(read.appInfo, decodeAppInfo(info));
  assert.deepEqual(read.attestation?.runtimeEvents, attestation(spkiDer(key)).runtimeEvents);
  assert.deepEqual(read.attestation?.reportData, reportDataFor("ratls-cert", spkiDer(key)));
  assert.deepEqual(
    [...leaf.certificate.extensions.keys()].slice(3),
    ["3", "9", "4", "1", "2", "8"].map((suffix) => `1.3.6.1.4.1.62397.1.${suffix}`),
  );
  assert.equal(
    verifyCertificateChain({
      chain: [leaf.certificate, app.certificate, root.certificate],
      roots: [root.certificate],
      now: NOW,
    }),
    root.certificate,
  );
});

test("writes purposes and names only where they are asked for", () => {
  const oids = (more: object): string[] => [
    ...createLeaf({
      commonName: "x",
      issuer: root,
      publicPoint: root.key.publicPoint,
      now: NOW,
      ...more,
    }).certificate.extensions.keys(),
  ];
  const purposesOf = (more: object): string | undefined =>
    new X509Certificate(
      createLeaf({ commonName: "x", issuer: root, publicPoint: root.key.publicPoint, now: NOW, ...more }).pem,
    ).keyUsage?.join();
  for (const more of [{}, { altNames: [] }, { serverAuth: false, clientAuth: false }])
    assert.deepEqual(oids(more), ["2.5.29.15"]);
  assert.deepEqual(oids({ altNames: ["a"], serverAuth: true }), ["2.5.29.17", "2.5.29.15", "2.5.29.37"]);
  assert.deepEqual(
    [purposesOf({ serverAuth: true }), purposesOf({ clientAuth: true })],
    ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
  );
  const critical = [
    ...createLeaf({
      commonName: "x",
      issuer: root,
      publicPoint: root.key.publicPoint,
      now: NOW,
      altNames: ["a"],
      serverAuth: true,
      usage: "u",
    }).certificate.extensions,
  ]
    .filter(([, extension]) => extension.critical)
    .map(([oid]) => oid);
  assert.deepEqual(critical, ["2.5.29.15"]);
});

test("a certificate with V2 events carries only the form that can express them", () => {
  const key = generateP256();
  const evidence: Attestation = {
    ...attestation(spkiDer(key)),
    runtimeEvents: [
      { event: "system-preparing", payload: new Uint8Array() },
      { event: "app-id", payload: APP, version: 2 },
    ],
  };
  const leaf = createTempClientCertificate({ tempCa: root, key, attestation: evidence, now: NOW });
  assert.deepEqual([...leaf.certificate.extensions.keys()], ["2.5.29.15", "1.3.6.1.4.1.62397.1.8"]);
  assert.equal(new X509Certificate(leaf.pem).subject, "CN=RA-TLS TEMP Cert");
});

test("a stored CA certificate for another key is refused", () => {
  assert.throws(() => loadCa("", pkcs8Pem(root.key)), /PEM|CERTIFICATE/);
  assert.throws(
    () => loadCa(root.pem + root.pem, pkcs8Pem(root.key)),
    /^RatlsError: CA: expected one certificate, got 2/,
  );
  const other = createCa({ commonName: "x", key: generateP256(), pathLength: 0, now: NOW });
  assert.equal(
    code(() => loadCa(root.pem, pkcs8Pem(other.key))),
    "key-mismatch",
  );
  assert.equal(
    code(() => loadCa(root.pem + other.pem, pkcs8Pem(root.key))),
    "key-mismatch",
  );
  assert.deepEqual(loadCa(root.pem, pkcs8Pem(root.key)).key, root.key);
});

test("refuses dates and names that no certificate can carry (DS #1232)", () => {
  const make =
    (more: object): (() => unknown) =>
    () =>
      createLeaf({ commonName: "x", issuer: root, publicPoint: root.key.publicPoint, now: NOW, ...more });
  for (const notAfter of [-1, Number.NaN, 1.5, 253_402_300_800, Number.MAX_SAFE_INTEGER, 157_766_400])
    assert.equal(code(make({ notAfter })), "validity-invalid", String(notAfter));
  assert.equal(code(make({ notBefore: NOW, notAfter: NOW })), "validity-invalid");
  assert.equal(
    new X509Certificate((make({ notBefore: 0, notAfter: 253_402_300_799 })() as { pem: string }).pem).validTo,
    "Dec 31 23:59:59 9999 GMT",
  );
  for (const name of ["", "a b", "a\0b", "ü.example", "a".repeat(254), "x/y", "fe80::1%eth0"])
    assert.equal(code(make({ altNames: [name] })), "name-invalid", name);
  assert.equal(code(make({ notBefore: -1, notAfter: NOW })), "validity-invalid");
  assert.equal(code(make({ altNames: Array(128).fill("a") })), "accepted");
  assert.equal(code(make({ organization: "a".repeat(256) })), "accepted");
  assert.equal(code(make({ altNames: Array(129).fill("a") })), "name-invalid");
  assert.equal(code(make({ commonName: "a\nb" })), "name-invalid");
  assert.equal(code(make({ organization: "a".repeat(257) })), "name-invalid");
});

test("reads addresses in every written form", () => {
  for (const [text, hex] of [
    ["10.0.2.2", "0a000202"],
    ["::", "00".repeat(16)],
    ["::1", `${"00".repeat(15)}01`],
    ["1::", `0001${"00".repeat(14)}`],
    ["::ffff:1.2.3.4", `${"00".repeat(10)}ffff01020304`],
    ["2001:db8:1:2:3:4:5:6", "20010db8000100020003000400050006"],
  ] as const) {
    assert.equal(toHex(ipOctets(text)!), hex, text);
  }
  for (const text of ["example.com", "1.2.3", "fe80::1%1", ""]) assert.equal(ipOctets(text), undefined);
});

test("refuses chains with a gap, a leaf as CA, a foreign root, a wrong depth or a wrong date", () => {
  const app = createAppCa({ root, key: generateP256(), appId: APP, now: NOW });
  const leafKey = generateP256();
  const leaf = createLeaf({ commonName: "leaf", issuer: app, publicPoint: leafKey.publicPoint, now: NOW });
  const verdict = (chain: readonly { certificate: unknown }[], now = NOW, roots = [root.certificate]): string =>
    code(() =>
      verifyCertificateChain({ chain: chain.map((item) => item.certificate as typeof root.certificate), roots, now }),
    );
  assert.equal(verdict([leaf, app]), "accepted");
  assert.equal(verdict([leaf]), "chain-refused");
  assert.equal(verdict([]), "chain-refused");
  assert.equal(verdict([leaf, root]), "chain-refused");
  assert.equal(verdict([leaf, app], NOW + 315_360_001), "chain-refused");
  assert.equal(verdict([leaf, app], 157_766_399), "chain-refused");
  const imposter = createCa({
    organization: "Dstack",
    commonName: "Dstack KMS CA",
    key: generateP256(),
    pathLength: 1,
    now: NOW,
  });
  assert.equal(verdict([leaf, app], NOW, [imposter.certificate]), "chain-refused");
  const leafAsCa = { certificate: leaf.certificate, pem: leaf.pem, key: leafKey };
  const child = createLeaf({
    commonName: "child",
    issuer: leafAsCa,
    publicPoint: generateP256().publicPoint,
    now: NOW,
  });
  assert.equal(verdict([child, leaf, app]), "chain-refused");
  const subCa = createCa({ commonName: "sub", key: generateP256(), issuer: app, pathLength: 0, now: NOW });
  const deep = createLeaf({ commonName: "deep", issuer: subCa, publicPoint: generateP256().publicPoint, now: NOW });
  assert.equal(verdict([deep, subCa, app]), "chain-refused", "path length 0 of the app CA");
});

test("derived keys certify points only, never bytes off the curve", () => {
  const point = p256FromScalar(parseHex("01".repeat(32))).publicPoint;
  point[64]! ^= 1;
  assert.throws(() => createLeaf({ commonName: "x", issuer: root, publicPoint: point, now: NOW }), /not a point/);
});
