import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, before, test } from "node:test";
import { appId, parseHex, toHex, utf8 } from "@dstack/bytes";
import { appInfo } from "@dstack/attest";
import { generateP256, spkiDer } from "@dstack/keys";
import { kms } from "@dstack/proto";
import {
  attestedTransport,
  encodeCsrV1,
  encodeCsrV2,
  parseCertificates,
  readDstackExtensions,
  signCsr,
  verifyCertificateChain,
  type CsrConfig,
} from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { callRpc } from "@dstack/rpc";
import { APP_ID, COMPOSE_HASH, DEVICE_ID, Harness, INSTANCE_ID, type Guest } from "./harness.ts";

let harness: Harness;
let root: string;
before(async () => {
  harness = await Harness.create();
  await harness.start();
  root = (await harness.tempCa()).caCertificatePem;
});
after(() => harness.close());

const CONFIG: CsrConfig = {
  subject: "dstack-guest-agent",
  altNames: ["app.example.com"],
  serverAuth: true,
  clientAuth: true,
  withEvidence: true,
  withAppInfo: true,
};

async function sign(
  guest: Guest,
  config: Partial<CsrConfig> = {},
  edit: {
    readonly csr?: (csr: Uint8Array) => Uint8Array;
    readonly signature?: Uint8Array;
    readonly apiVersion?: number;
  } = {},
): Promise<string[]> {
  const encoded = encodeCsrV2({
    publicKeyInfo: spkiDer(guest.key),
    config: { ...CONFIG, ...config },
    attestation: guest.attestation,
  });
  const csr = edit.csr?.(encoded) ?? encoded;
  const transport = attestedTransport({ baseUrl: harness.baseUrl, trustedRoots: [root], peer: { kind: "kms" } });
  const answer = await callRpc(
    transport,
    kms.KMS.method.signCert,
    {
      apiVersion: edit.apiVersion ?? 2,
      csr,
      signature: edit.signature ?? signCsr(csr, guest.key),
      vmConfig: guest.vmConfig,
    },
    { timeoutMs: 60_000 },
  );
  return answer.certificateChain;
}

test("what is asked about is the boot as it was at boot-mr-done, whatever the app measured since (kms.md 7.6)", async () => {
  const event = (name: string, payload: Uint8Array = new Uint8Array()) => ({ event: name, payload });
  const guest = harness.guest({
    events: [
      event("app-id", parseHex(APP_ID)),
      event("compose-hash", parseHex(COMPOSE_HASH)),
      event("instance-id", parseHex(INSTANCE_ID)),
      event("boot-mr-done"),
      event("key-provider", utf8('{"name":"kms","id":"00"}')),
      event("system-ready"),
      event("app-event", utf8("anything")),
    ],
  });
  await sign(guest, { withAppInfo: false });
  const line = (await harness.auditLines()).at(-1)!;
  const { attestation, vmConfig } = guest;
  const verified = { ppid: new Uint8Array(16), status: "UpToDate", advisoryIds: [] };
  const measured = (boottime: boolean): string =>
    toHex(appInfo({ attestation, verified: verified as never, vmConfig, boottime }).mrAggregated);
  assert.deepEqual([line["action"], line["outcome"]], ["sign-cert", "released"]);
  assert.equal(line["mrAggregated"], measured(true));
  assert.notEqual(measured(true), measured(false));
});

const refusal = async (...parameters: Parameters<typeof sign>): Promise<string> => {
  try {
    await sign(...parameters);
  } catch (error) {
    return errorChain(error);
  }
  return "signed";
};

test("signs for the key and identity that the evidence proves (DS #1255)", async () => {
  const guest = harness.guest();
  const notAfter = Math.floor(Date.now() / 1000) + 864_000;
  const [leaf, appCa, rootCa] = await sign(guest, { organization: "Org", notAfter });
  assert.equal(rootCa, root);
  const chain = parseCertificates(leaf!, appCa!);
  verifyCertificateChain({ chain, roots: parseCertificates(root), now: Math.floor(Date.now() / 1000) });
  assert.equal(chain[0]!.notAfter, notAfter);
  const read = readDstackExtensions(chain[0]!.raw);
  assert.deepEqual([read.usage, toHex(read.appId!)], ["app:custom", APP_ID]);
  assert.deepEqual(read.attestation?.platform.quote, guest.attestation.platform.quote);
  const info = appInfo({ attestation: guest.attestation, vmConfig: guest.vmConfig });
  assert.equal(toHex(read.appInfo!.deviceId), DEVICE_ID, "from the verified report, not of nothing");
  assert.equal(toHex(read.appInfo!.osImageHash), harness.image.hash);
  assert.deepEqual([read.appInfo!.appId, read.appInfo!.mrAggregated], [info.appId, info.mrAggregated]);
  assert.equal(new X509Certificate(leaf!).subjectAltName, "DNS:app.example.com");
  assert.deepEqual(
    [readDstackExtensions(chain[1]!.raw).usage, readDstackExtensions(chain[1]!.raw).appId],
    ["app:ca", appId(parseHex(APP_ID))],
  );
});

test("the app's CA is the same at every signature", async () => {
  const [, first] = await sign(harness.guest(), { withEvidence: false, withAppInfo: false });
  const [, second] = await sign(harness.guest());
  assert.equal(
    new X509Certificate(first!).publicKey.export({ format: "pem", type: "spki" }),
    new X509Certificate(second!).publicKey.export({ format: "pem", type: "spki" }),
  );
});

test("a bare leaf carries neither evidence nor app info", async () => {
  const [leaf] = await sign(harness.guest(), { withEvidence: false, withAppInfo: false, altNames: [] });
  const read = readDstackExtensions(new Uint8Array(new X509Certificate(leaf!).raw));
  assert.deepEqual([read.attestation, read.appInfo, read.usage], [undefined, undefined, "app:custom"]);
});

test("extreme dates are refused and the service goes on for everybody (DS #1232)", async () => {
  const guest = harness.guest();
  const withDate =
    (hex: string) =>
    (csr: Uint8Array): Uint8Array =>
      parseHex(toHex(csr).replace("0700000000000000", hex));
  for (const hex of ["ffffffffffffffff", "ffffffffffffff7f", "0000000000000080", "8041f4ff3a000000"]) {
    assert.match(
      await refusal(guest, { notAfter: 7 }, { csr: withDate(hex) }),
      /^Failed to parse csr: certificate request: date/,
      hex,
    );
    assert.match(
      await refusal(guest, { notBefore: 7 }, { csr: withDate(hex) }),
      /^Failed to parse csr: certificate request: date/,
      hex,
    );
  }
  assert.match(await refusal(guest, { notAfter: 0 }), /Failed to sign certificate: certificate would end/);
  assert.match(
    await refusal(guest, { notBefore: 253_402_300_799 }),
    /Failed to sign certificate: certificate would end/,
  );
  assert.equal(await refusal(guest), "signed");
});

test("refuses a request that its key did not sign, of another version, or that cannot be read", async () => {
  const guest = harness.guest();
  assert.equal(
    await refusal(guest, {}, { signature: new Uint8Array(70) }),
    "Failed to verify csr signature: Invalid signature",
  );
  const word = (csr: Uint8Array): Uint8Array => parseHex(toHex(csr).replace("706c65617365", "6b696e646c79"));
  assert.equal(await refusal(guest, {}, { csr: word }), "Failed to verify csr signature: Invalid confirm word");
  assert.equal(await refusal(guest, {}, { apiVersion: 3 }), "Unsupported API version: 3");
  assert.match(await refusal(guest, {}, { csr: (csr) => csr.subarray(0, 60) }), /^Failed to parse csr/);
  assert.match(await refusal(guest, {}, { csr: (csr) => new Uint8Array([...csr, 0]) }), /^Failed to parse csr/);
});

test("refuses evidence for another key, and apps that may not boot", async () => {
  const guest = harness.guest();
  assert.match(
    await refusal({ ...guest, key: generateP256() }),
    /^Quote verification failed: report-data: report data mismatch/,
  );
  assert.match(
    await refusal(harness.guest({ composeHash: "ee".repeat(32) })),
    /^Boot denied: compose hash not allowed/,
  );
  const line = (await harness.auditLines()).at(-1)!;
  assert.deepEqual([line["action"], line["outcome"], line["field"]], ["sign-cert", "refused", "composeHash"]);
});

test("no app gets a certificate for the KMS's own name", async () => {
  assert.match(
    await refusal(harness.guest(), { altNames: ["app.example.com", "127.0.0.1"] }),
    /that is the KMS's own name/,
  );
  const refused = (await harness.auditLines()).at(-1)!;
  assert.deepEqual(
    [refused["action"], refused["outcome"], refused["rule"], refused["field"]],
    ["sign-cert", "refused", "own-name", "subject_alt_names"],
    "and no line says that one was signed",
  );
  assert.match(
    await refusal(harness.guest(), { subject: "127.0.0.1" }),
    /^Failed to sign certificate: .*that is the KMS's own name \(rule own-name, field subject\)$/,
  );
  for (const altName of ["::ffff:127.0.0.1", "127.1", "*.replicas.example.net"])
    assert.match(await refusal(harness.guest(), { altNames: [altName] }), /that is the KMS's own name/, altName);
  assert.match(await refusal(harness.guest(), { altNames: ["bad name"] }), /neither a DNS name nor an IP address/);
});

test("of a long log nothing is read before the quote holds for the key that asks (DS #1267)", async () => {
  const guest = harness.guest();
  const { quote } = guest.attestation.platform;
  const { withAppInfo: _, ...config } = CONFIG;
  const ask = (publicKey: Guest["key"], quoted: Uint8Array, eventLogJson: string): Promise<string> => {
    const csr = encodeCsrV1({
      publicKeyInfo: spkiDer(publicKey),
      config: { ...config, withAppInfo: false },
      quote: quoted,
      eventLogJson,
    });
    return refusal(guest, {}, { csr: () => csr, signature: signCsr(csr, publicKey), apiVersion: 1 });
  };
  // Whoever reads this log says that it is none.
  const long = "x".repeat(300_000);
  const forged = Uint8Array.from(quote);
  forged[700]! ^= 1;
  assert.match(await ask(generateP256(), quote, long), /Quote verification failed: report-data: .*another key/);
  assert.doesNotMatch(await ask(guest.key, forged, long), /attestation cannot be read/);
  assert.match(await ask(guest.key, quote, long), /attestation cannot be read/);
  assert.match(await ask(guest.key, quote, "x"), /attestation cannot be read/);
});

test("nor of a long attestation of version 2: its events are read where its quote holds (DS #1267)", async () => {
  const guest = harness.guest();
  const payload = new Uint8Array(300_000);
  const runtimeEvents = [{ event: "long", payload }, ...guest.attestation.runtimeEvents];
  const ask = (publicKey: Guest["key"], edit: (csr: Uint8Array) => void): Promise<string> => {
    const attestation = { ...guest.attestation, runtimeEvents };
    const csr = encodeCsrV2({ publicKeyInfo: spkiDer(publicKey), config: CONFIG, attestation });
    edit(csr);
    return refusal(guest, {}, { csr: () => csr, signature: signCsr(csr, publicKey) });
  };
  const name = Buffer.from("long");
  // The event's name is no UTF-8: whoever reads that far says so.
  const unreadable = (csr: Uint8Array): void => void (csr[Buffer.from(csr).indexOf(name)] = 0xff);
  const forged = (csr: Uint8Array): void => {
    const at = Buffer.from(csr).indexOf(guest.attestation.platform.quote);
    csr[at + 700]! ^= 1;
    unreadable(csr);
  };
  assert.match(await ask(generateP256(), unreadable), /Quote verification failed: report-data: .*another key/);
  const ofForged = await ask(guest.key, forged);
  assert.match(ofForged, /^Quote verification failed/);
  assert.doesNotMatch(ofForged, /attestation cannot be read/);
  assert.match(await ask(guest.key, unreadable), /attestation cannot be read/);
  assert.match(await ask(guest.key, () => undefined), /^Quote verification failed: /, "the events are replayed");
});
