import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecureContext, type SecureContext } from "node:tls";
import { after, before, beforeEach, describe, test } from "node:test";
import { appId, parseHex, toHex, type ReportData } from "@dstack/bytes";
import { customReportData, reportDataFor, type Check } from "@dstack/attest";
import { generateP256, pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { createAppCa, createCa, createLeaf, USAGE, type LeafOptions, type SigningCa } from "@dstack/ratls";
import type { HttpServer } from "@dstack/rpc";
import { startMockPccs, type MockEdition } from "@dstack/tee-simulator";
import {
  APP_ID,
  makeEvidence,
  makeImage,
  MANIFEST,
  newPki,
  wireForms,
  type EvidenceOptions,
  type MockImage,
} from "../../libs/verify/test/mock-app.ts";
import { createCli, type Cli } from "../src/clients/cli.ts";
import type { VerifyResult } from "../src/verify/result.ts";
import { verifyFile, verifyUrl, type TargetOptions } from "../src/verify/target.ts";
import { tcbStatus } from "../src/tcb/status.ts";
import { fullReportText } from "../src/verify/report.ts";
import { captured } from "./captured.ts";

// One server is the app, its agent and its gateway, by host name, as behind a gateway's address.
const DOMAIN = "apps.localhost";
const GATEWAY_APP = "6a".repeat(20);
const pki = newPki();
const now = Math.floor(Date.now() / 1000);
const webKey = generateP256();
const webCa = createCa({ commonName: "Web CA", key: generateP256(), pathLength: 0, now });
const kmsRoot = createCa({
  commonName: "Dstack KMS CA",
  organization: "Dstack",
  key: generateP256(),
  pathLength: 1,
  now,
});
const provider = { name: "kms", id: toHex(spkiDer(kmsRoot.key)) };

let folder = "";
let image: MockImage;
let pccs: HttpServer;
let server: Server;
let base: URL;
let world: World;
/** What the collateral server has at the time; by the first one the platform is up to date. */
let edition: MockEdition;

/** What the server shows and says; each test changes what it is about. */
interface World {
  tls: SecureContext;
  evidence: (nonce: Uint8Array) => Record<string, string>;
  acmeInfo: unknown;
  kmsMeta: unknown;
}

const env = (): NodeJS.ProcessEnv => ({
  XDG_STATE_HOME: join(folder, "state"),
  XDG_CACHE_HOME: join(folder, "cache"),
  PATH: process.env["PATH"],
});
const cli = (): Cli => createCli(env());
const guest = (options: EvidenceOptions = {}): Record<string, string> =>
  wireForms(makeEvidence(image, { pki, keyProvider: provider, ...options })).quote;
const evidenceOf = (nonce: Uint8Array): Record<string, string> => ({
  ...guest({ reportData: customReportData("dstack-evidence", nonce) }),
  app_compose: MANIFEST,
});
const gatewayQuote = (reportData: ReportData, app = GATEWAY_APP): string =>
  JSON.stringify(
    guest({
      reportData,
      events: (usual) =>
        usual.map((event) => (event.event === "app-id" ? { ...event, payload: parseHex(app) } : event)),
    }),
  );
const certificateQuote = (key: P256Key, app?: string): string =>
  gatewayQuote(customReportData("zt-cert", spkiDer(key)), app);

function tlsOf(
  key: P256Key,
  issuer: SigningCa,
  more: Partial<LeafOptions> = {},
  chain: readonly string[] = [],
): SecureContext {
  const leaf = createLeaf({
    commonName: DOMAIN,
    issuer,
    publicPoint: key.publicPoint,
    altNames: [`*.${DOMAIN}`],
    serverAuth: true,
    notBefore: now - 86_400,
    notAfter: now + 86_400,
    now,
    ...more,
  });
  return createSecureContext({ key: pkcs8Pem(key), cert: [leaf.pem, ...chain].join("") });
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const host = (request.headers.host ?? "").split(":")[0];
  const url = new URL(request.url ?? "/", "http://x");
  const send = (value: unknown): void => void response.end(JSON.stringify(value));
  if (host === `${APP_ID}-8090.${DOMAIN}` && url.pathname === "/evidence")
    return send(world.evidence(parseHex(url.searchParams.get("nonce") ?? "")));
  if (host === `gateway.${DOMAIN}` && url.pathname === "/acme-info" && world.acmeInfo !== undefined)
    return send(world.acmeInfo);
  if (host === "127.0.0.1" && url.pathname === "/prpc/GetMeta" && world.kmsMeta !== undefined)
    return send(world.kmsMeta);
  response.writeHead(404).end();
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "verify-remote-"));
  const { layout } = cli();
  await mkdir(layout.images, { recursive: true });
  image = await makeImage(layout.images);
  await writeFile(join(folder, "root.pem"), pki.rootPem);
  await writeFile(join(folder, "web-ca.pem"), webCa.pem);
  pccs = await startMockPccs({
    pki,
    host: "127.0.0.1",
    port: 0,
    log: createLogger({ name: "t", stream: { write: () => undefined } }),
    clock: Date,
    edition: () => edition,
  });
  const fallback = createLeaf({
    commonName: DOMAIN,
    issuer: webCa,
    publicPoint: webKey.publicPoint,
    altNames: [`*.${DOMAIN}`],
    serverAuth: true,
    now,
  });
  server = createServer(
    {
      key: pkcs8Pem(webKey),
      cert: fallback.pem,
      SNICallback: (name, done) => done(null, name === `${APP_ID}.${DOMAIN}` ? world.tls : undefined),
    },
    answer,
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = new URL(`https://${APP_ID}.${DOMAIN}:${(server.address() as AddressInfo).port}/`);
});

after(async () => {
  server.closeAllConnections();
  server.close();
  await pccs.close();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(() => {
  edition = { evaluation: 1, microcode: 0 };
  world = {
    tls: tlsOf(webKey, webCa),
    evidence: evidenceOf,
    acmeInfo: {
      account_uri: "",
      quoted_hist_keys: [{ public_key: toHex(spkiDer(webKey)), quote: certificateQuote(webKey) }],
      base_domain: DOMAIN,
    },
    kmsMeta: undefined,
  };
});

const options = (change: TargetOptions = {}): TargetOptions => ({
  root: join(folder, "root.pem"),
  cacert: join(folder, "web-ca.pem"),
  pccs: [`http://${pccs.address}`],
  gatewayAppId: `0x${GATEWAY_APP}`,
  imageUrl: "http://127.0.0.1:1/{OS_IMAGE_HASH}",
  ...change,
});
const verifyApp = (change: TargetOptions = {}): Promise<VerifyResult> => verifyUrl(cli(), "app", base, options(change));
const check = ({ checks }: VerifyResult, name: string): Check =>
  checks.find((candidate) => candidate.name === name) ?? assert.fail(`no check ${name}`);
const summary = (result: VerifyResult): unknown => [
  result.verdict,
  result.checks.filter(({ result: outcome }) => outcome !== "pass"),
];

describe("an app", () => {
  test("verifies with its TLS key held by the gateway, and says what runs, who can change it and what protects it", async () => {
    const result = await verifyApp();
    assert.equal(result.ok, true, JSON.stringify(summary(result)));
    assert.deepEqual([result.appId, result.tcbStatus, result.environment], [APP_ID, "UpToDate", "development"]);
    for (const name of ["report-data", "freshness", "rtmr3-replay", "os-image", "compose-hash", "app-id", "tls-key"])
      assert.equal(check(result, name).result, "pass", name);
    const text = fullReportText(result);
    for (const expected of [
      /What runs here/,
      /image +web: hello@sha256:/,
      /Who can change it/,
      new RegExp(`from KMS ${provider.id.slice(0, 16)}`),
      /What protects it/,
      /encrypted under the app's key/,
      /verified: https/,
      /a development image/,
      /TLS key +sha256\/\//,
    ])
      assert.match(text, expected);
  });

  test("is incomplete, not verified, while its TLS key is bound by nothing (CVE-2026-33697)", async () => {
    world.acmeInfo = { quoted_hist_keys: [{ public_key: toHex(spkiDer(webKey)), quote: "" }] };
    const unquoted = await verifyApp();
    assert.deepEqual(
      [unquoted.ok, unquoted.verdict.kind, check(unquoted, "tls-key").result],
      [false, "incomplete", "not bound"],
    );
    assert.equal((await verifyApp({ accept: ["tls-key"] })).ok, true);
    world.acmeInfo = undefined;
    assert.equal(check(await verifyApp(), "tls-key").result, "not bound");
    world.acmeInfo = { quoted_hist_keys: [{ public_key: toHex(spkiDer(generateP256())), quote: "{}" }] };
    assert.match(check(await verifyApp(), "tls-key").reason, /somebody else ends TLS/);
    assert.equal(check(await verifyApp(), "tls-key").result, "fail");
  });

  test("believes no quote of just any app over the TLS key, nor one over another key", async () => {
    assert.equal(check(await verifyApp({ gatewayAppId: undefined }), "tls-key").result, "not bound");
    assert.equal(check(await verifyApp({ gatewayAppId: "77".repeat(20) }), "tls-key").result, "fail");
    const wrong = [
      certificateQuote(generateP256()),
      gatewayQuote(reportDataFor("ratls-cert", spkiDer(webKey))),
      "not json",
      '{"quote":"00","event_log":"[]"}',
    ];
    for (const quote of wrong) {
      world.acmeInfo = { quoted_hist_keys: [{ public_key: toHex(spkiDer(webKey)), quote }] };
      const outcome = check(await verifyApp(), "tls-key");
      assert.equal(outcome.result, "fail", outcome.reason);
    }
  });

  test("verifies with its own evidence in the certificate (passthrough), and only with its own", async () => {
    world.acmeInfo = undefined;
    const key = generateP256();
    const show = (options: EvidenceOptions, holder = key): void => {
      world.tls = tlsOf(holder, webCa, {
        attestation: makeEvidence(image, { pki, keyProvider: provider, ...options }).attestation,
      });
    };
    const reportData = reportDataFor("ratls-cert", spkiDer(key));
    show({ reportData });
    const result = await verifyApp();
    assert.equal(result.ok, true, JSON.stringify(summary(result)));
    assert.match(check(result, "tls-key").reason, /bound by the evidence in its certificate/);
    show({ reportData }, generateP256());
    assert.match(check(await verifyApp(), "tls-key").reason, /does not hold: .*report-data/);
    show({
      reportData,
      events: (usual) =>
        usual.map((event) => (event.event === "app-id" ? { ...event, payload: parseHex("99".repeat(20)) } : event)),
    });
    assert.match(check(await verifyApp(), "tls-key").reason, /that is app 9999/);
  });

  test("verifies with a certificate that its own KMS issued to it, found by asking that KMS", async () => {
    world.acmeInfo = undefined;
    const key = generateP256();
    const issue = (app: string): SecureContext => {
      const ca = createAppCa({ root: kmsRoot, key: generateP256(), appId: appId(parseHex(app)), now });
      return tlsOf(key, ca, { appId: appId(parseHex(app)), usage: USAGE.appCustom }, [ca.pem]);
    };
    world.tls = issue(APP_ID);
    const kmsCa = join(folder, "kms-ca.pem");
    await writeFile(kmsCa, kmsRoot.pem);
    const given = await verifyApp({ kmsCa });
    assert.equal(given.ok, true, JSON.stringify(summary(given)));
    assert.equal(check(given, "kms-identity").result, "pass");
    world.tls = issue("99".repeat(20));
    assert.equal(check(await verifyApp({ kmsCa }), "tls-key").result, "fail");
    await writeFile(kmsCa, webCa.pem);
    const foreign = await verifyApp({ kmsCa });
    assert.deepEqual([check(foreign, "kms-identity").result, check(foreign, "tls-key").result], ["fail", "not bound"]);
  });

  test("learns governance and gateway from its own KMS alone", async () => {
    const meta = {
      ca_cert: kmsRoot.pem,
      k256_pubkey: "02".repeat(33),
      gateway_app_id: `0x${GATEWAY_APP}`,
      kms_contract_address: "0xabc",
      chain_id: 8453,
    };
    world.kmsMeta = meta;
    const kmsUrl = `https://127.0.0.1:${base.port}`;
    // The connection's certificate is not one of the KMS: what it says does not count.
    const stranger = await verifyApp({ kms: kmsUrl, gatewayAppId: undefined });
    assert.equal(check(stranger, "tls-key").result, "not bound");
    assert.ok(!fullReportText(stranger).includes("0xabc"));
    const rpc = generateP256();
    const leaf = createLeaf({
      commonName: "127.0.0.1",
      issuer: kmsRoot,
      publicPoint: rpc.publicPoint,
      usage: USAGE.kmsRpc,
      now,
    });
    const kms = createServer({ key: pkcs8Pem(rpc), cert: leaf.pem }, answer);
    await new Promise<void>((resolve) => kms.listen(0, "127.0.0.1", resolve));
    const own = await verifyApp({
      kms: `https://127.0.0.1:${(kms.address() as AddressInfo).port}`,
      gatewayAppId: undefined,
    });
    kms.close();
    kms.closeAllConnections();
    assert.equal(check(own, "tls-key").result, "pass");
    assert.match(fullReportText(own), /contract 0xabc on chain 8453/);
  });

  test("refuses old evidence, another manifest, and what was demanded and is not measured", async () => {
    const old = evidenceOf(new Uint8Array(32));
    world.evidence = () => old;
    assert.equal(check(await verifyApp(), "report-data").result, "fail");
    world.evidence = (nonce) => ({ ...evidenceOf(nonce), app_compose: MANIFEST.replace("app", "bpp") });
    const swapped = await verifyApp();
    assert.equal(check(swapped, "compose-hash").result, "fail");
    assert.deepEqual(swapped.sections, [], "nothing is told about a manifest that is not the measured one");
    world.evidence = evidenceOf;
    const demanded = await verifyApp({ appId: "77".repeat(20), composeHash: "88".repeat(32), osImageHash: image.hash });
    assert.deepEqual(
      ["expected-app-id", "expected-compose-hash", "expected-os-image"].map((name) => check(demanded, name).result),
      ["fail", "fail", "pass"],
    );
    const policy = join(folder, "policy.json");
    await writeFile(policy, '{"accepted_fmspcs":["111111111111"]}');
    assert.equal(check(await verifyApp({ policy }), "policy-platform").result, "fail");
    world.evidence = () => ({ quote: "zz", event_log: "[]", app_compose: "" });
    assert.match(check(await verifyApp(), "evidence").reason, /quote is not hex/);
  });

  test("needs evidence at all: no agent, or one that says nonsense, is an error and no verdict", async () => {
    world.evidence = () => ({});
    await assert.rejects(verifyApp(), /the evidence at .* is malformed/);
    await assert.rejects(
      verifyUrl(cli(), "app", new URL(base.href.replace(APP_ID, "00".repeat(20))), options()),
      /no evidence at .*404/,
    );
  });
});

describe("a bundle", () => {
  const bundleFile = (): string => join(folder, "bundle.json");
  // A port where nothing listens, and a cache of its own: whoever asks for more than the bundle has, fails.
  const offline = (): Cli =>
    createCli({
      XDG_STATE_HOME: join(folder, "offline/state"),
      XDG_CACHE_HOME: join(folder, "offline/cache"),
      PCCS_URL: "http://127.0.0.1:1",
    });
  const judge = (change: TargetOptions = {}, file = bundleFile()): Promise<VerifyResult> =>
    verifyFile(offline(), file, { root: join(folder, "root.pem"), gatewayAppId: GATEWAY_APP, ...change });
  type Edit = (bundle: {
    subject: { nonce: string; certificates: string[]; evidence: Record<string, string> };
    collateral: Record<string, Record<string, string>>;
    images: Record<string, Record<string, string>>;
  }) => void;
  const edited = async (edit: Edit): Promise<VerifyResult> => {
    const bundle = JSON.parse(await readFile(bundleFile(), "utf8")) as Parameters<Edit>[0];
    edit(bundle);
    const file = join(folder, "edited.json");
    await writeFile(file, JSON.stringify(bundle));
    return judge({}, file);
  };

  before(async () => {
    world = {
      tls: tlsOf(webKey, webCa),
      evidence: evidenceOf,
      acmeInfo: { quoted_hist_keys: [{ public_key: toHex(spkiDer(webKey)), quote: certificateQuote(webKey) }] },
      kmsMeta: undefined,
    };
    assert.equal((await verifyApp({ save: bundleFile() })).ok, true);
  });

  test("gives the same verdict offline, but for freshness", async () => {
    const result = await judge();
    assert.equal(result.ok, true, JSON.stringify(summary(result)));
    assert.deepEqual(
      [check(result, "freshness").result, check(result, "tls-key").result, check(result, "os-image").result],
      ["not bound", "pass", "pass"],
    );
    assert.match(result.what, /bundle\.json \(bundle of https:/);
    assert.match(check(result, "freshness").reason, /as of .*Z, by the word of whoever made the bundle/);
  });

  test("is not let off its TLS key by a URL that looks like one of this machine (CVE-2026-33697)", async () => {
    const result = await edited(
      ({ subject }) =>
        void Object.assign(subject, { url: `https://${APP_ID}.dstack.localhost/`, acme_info: undefined }),
    );
    assert.deepEqual(
      [result.verdict.kind, check(result, "tls-key").result],
      ["incomplete", "not bound"],
      JSON.stringify(summary(result)),
    );
    // Nor is there a deployment here whose root could count instead of Intel's.
    const byIntel = await judge({ root: undefined }, join(folder, "edited.json"));
    assert.deepEqual(
      [byIntel.environment, byIntel.verdict.kind, check(byIntel, "pck-chain").result],
      ["production", "failed", "fail"],
      JSON.stringify(summary(byIntel)),
    );
  });

  test("is judged at the time that is asked for", async () => {
    const late = await judge({ time: new Date(Date.now() + 400 * 86_400_000).toISOString() });
    assert.equal(late.ok, false);
    assert.match(late.verdict.kind === "verified" ? "" : late.verdict.reason, /expired/);
  });

  test("is judged with the empty attestation that bundles of before hold beside the quote", async () => {
    const older = await edited(({ subject }) => void (subject.evidence["attestation"] = ""));
    assert.equal(older.ok, true, JSON.stringify(summary(older)));
  });

  test("is refused wherever it was changed, and incomplete where something was taken out", async () => {
    assert.equal(
      check(await edited(({ subject }) => void (subject.nonce = "00".repeat(32))), "report-data").result,
      "fail",
    );
    assert.equal(
      check(await edited(({ subject }) => void (subject.evidence["app_compose"] += " ")), "compose-hash").result,
      "fail",
    );
    const other = createLeaf({ commonName: DOMAIN, issuer: webCa, publicPoint: generateP256().publicPoint, now });
    assert.equal(
      check(await edited(({ subject }) => void (subject.certificates = [other.pem])), "tls-key").result,
      "fail",
    );
    const bare = await edited((bundle) => void (bundle.collateral = {}));
    assert.match(check(bare, "collateral").reason, /the bundle holds no collateral for/);
    assert.equal(bare.ok, false);
    const noImage = await edited((bundle) => void (bundle.images = {}));
    assert.deepEqual([noImage.verdict.kind, check(noImage, "os-image").result], ["incomplete", "not bound"]);
    const wrongImage = await edited(
      ({ images }) => void (images[image.hash] = { files_tar_gz: Buffer.from("no archive").toString("base64") }),
    );
    assert.equal(check(wrongImage, "os-image").result, "fail");
    const signature = await edited(({ collateral }) => {
      for (const documents of Object.values(collateral)) documents["tcb_info_signature"] = "11".repeat(64);
    });
    assert.equal(check(signature, "tcb-info").result, "fail");
  });

  test("of another form is refused by its member, and so is a file that is no evidence", async () => {
    await assert.rejects(
      edited((bundle) => void Object.assign(bundle, { version: 2 })),
      /version/,
    );
    await assert.rejects(
      edited((bundle) => void Object.assign(bundle, { more: 1 })),
      /more/,
    );
    await assert.rejects(
      edited(({ subject }) => void (subject.certificates = ["no certificate"])),
      /certificate in PEM/,
    );
    const file = join(folder, "other.json");
    for (const [content, expected] of [
      ["{", /not valid JSON/],
      ["[]", /neither an evidence bundle/],
      ['{"quote":5}', /neither an evidence bundle/],
    ] as const) {
      await writeFile(file, content);
      await assert.rejects(judge({}, file), expected);
    }
  });

  test("bare evidence in a file is judged too, with collateral from a file or a server", async () => {
    const file = join(folder, "evidence.json");
    await writeFile(file, JSON.stringify(guest()));
    const result = await verifyFile(cli(), file, options());
    assert.deepEqual(
      [result.ok, check(result, "report-data").result],
      [true, "not bound"],
      JSON.stringify(summary(result)),
    );
    await writeFile(file, JSON.stringify({ ...guest(), attestation: "" }));
    assert.match(check(await verifyFile(cli(), file, options()), "evidence").reason, /Empty attestation bytes/);
    await writeFile(file, "{}");
    assert.match(check(await verifyFile(cli(), file, options()), "evidence").reason, /neither attestation nor quote/);
  });

  test("the command exits with 0, or with 3 where a check fails, and prints JSON for scripts", () => {
    const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
      spawnSync(
        process.execPath,
        [
          join(import.meta.dirname, "../src/main.ts"),
          "verify",
          bundleFile(),
          "--root",
          join(folder, "root.pem"),
          ...args,
        ],
        { encoding: "utf8", env: { ...offline().env, PATH: process.env["PATH"] }, timeout: 60_000 },
      );
    const good = run("--gateway-app-id", GATEWAY_APP, "-o", "json");
    assert.equal(good.status, 0, good.stderr);
    const json = JSON.parse(good.stdout) as {
      ok: boolean;
      verdict: string;
      app_id: string;
      checks: Check[];
      sections: { title: string }[];
    };
    assert.deepEqual(
      [json.ok, json.verdict, json.app_id, json.sections.map(({ title }) => title)],
      [true, "verified", APP_ID, ["What runs here", "Who can change it", "What protects it"]],
    );
    const bad = run("--gateway-app-id", "77".repeat(20));
    assert.equal(bad.status, 3);
    assert.match(bad.stdout, /FAIL {2}tls-key[^\n]*the gateway is app 7777/);
    assert.equal(run("--save", "x").status, 2);
  });
});

describe("a gateway", () => {
  const verify = (change: TargetOptions = {}): Promise<VerifyResult> =>
    verifyUrl(cli(), "gateway", new URL(base.href.replace(APP_ID, "gateway")), options(change));

  test("verifies by the quotes for the key it serves, those before it, and its account", async () => {
    const uri = "https://acme.example/acct/1";
    const earlier = generateP256();
    world.acmeInfo = {
      account_uri: uri,
      account_quote: gatewayQuote(customReportData("acme-account", new TextEncoder().encode(uri))),
      base_domain: DOMAIN,
      quoted_hist_keys: [
        { public_key: toHex(spkiDer(webKey)), quote: certificateQuote(webKey) },
        { public_key: toHex(spkiDer(earlier)), quote: certificateQuote(earlier) },
      ],
    };
    const result = await verify({ appId: GATEWAY_APP });
    assert.equal(result.ok, true, JSON.stringify(summary(result)));
    assert.deepEqual(
      ["served-key", "earlier-key", "acme-account", "identity", "expected-app-id"].map(
        (name) => check(result, name).result,
      ),
      ["pass", "pass", "pass", "pass", "pass"],
    );
    assert.equal(check(await verify(), "identity").result, "not bound");
    assert.equal((await verify({ appId: "77".repeat(20) })).ok, false);
    world.acmeInfo = { ...(world.acmeInfo as object), account_uri: `${uri}2` };
    assert.equal(check(await verify(), "acme-account").result, "fail");
    const file = join(folder, "gateway.json");
    world.acmeInfo = { ...(world.acmeInfo as object), account_uri: uri };
    await verify({ save: file });
    assert.equal((await verifyFile(cli(), file, { root: join(folder, "root.pem") })).ok, true);
  });

  test("is not verified where the served key is not listed, not quoted or another app's", async () => {
    const entry = (key: P256Key, quote: string): unknown => ({
      quoted_hist_keys: [{ public_key: toHex(spkiDer(key)), quote }],
    });
    for (const [info, outcome, verdict] of [
      [entry(generateP256(), ""), "fail", "failed"],
      [entry(webKey, ""), "not bound", "incomplete"],
      [entry(webKey, certificateQuote(generateP256())), "fail", "failed"],
      [{}, "fail", "failed"],
    ] as const) {
      world.acmeInfo = info;
      const result = await verify();
      assert.deepEqual([check(result, "served-key").result, result.verdict.kind], [outcome, verdict]);
    }
    const stolen = generateP256();
    world.acmeInfo = {
      quoted_hist_keys: [
        { public_key: toHex(spkiDer(webKey)), quote: certificateQuote(webKey) },
        { public_key: toHex(spkiDer(stolen)), quote: certificateQuote(stolen, "77".repeat(20)) },
      ],
    };
    assert.equal(check(await verify(), "earlier-key").result, "fail");
    world.acmeInfo = undefined;
    await assert.rejects(verify(), /serves no acme-info/);
  });
});

describe("an outdated platform", () => {
  const NEEDS =
    /OutOfDate, advisories MOCK-SA-00001; UpToDate .* needs TDX component 2 at 3 \(has 0\) by a microcode update/;
  /** Without collateral of other tests: what is kept is used for hours. */
  const anew = (what: "app" | "gateway", change: TargetOptions = {}): Promise<VerifyResult> => {
    const host = what === "app" ? APP_ID : "gateway";
    const url = new URL(base.href.replace(APP_ID, host));
    return verifyUrl(
      createCli({ ...env(), XDG_CACHE_HOME: join(folder, `cache-${randomUUID()}`) }),
      what,
      url,
      options({ imageDir: image.dir, ...change }),
    );
  };
  const policyFile = async (policy: object): Promise<string> => {
    const file = join(folder, "policy.json");
    await writeFile(file, JSON.stringify(policy));
    return file;
  };

  beforeEach(() => {
    edition = { evaluation: 20, microcode: 3 };
  });

  test("is no silent pass: the app is not verified unless the caller takes it, or a policy does", async () => {
    const result = await anew("app");
    assert.deepEqual([result.ok, result.verdict.kind, check(result, "tcb").result], [false, "incomplete", "not bound"]);
    assert.match(check(result, "tcb").reason, NEEDS);
    assert.match(result.verdict.kind === "verified" ? "" : result.verdict.reason, /tcb: .*--accept tcb/);
    const text = fullReportText(result);
    assert.match(text, /^! memory .*OutOfDate.*needs TDX component 2/m);
    assert.match(text, /^! advisories .*MOCK-SA-00001/m);

    const taken = await anew("app", { accept: ["tcb"] });
    assert.equal(taken.ok, true, JSON.stringify(summary(taken)));
    assert.match(fullReportText(taken), /not bound by this evidence: .*tcb/, "taking it does not hide it");

    const policy = await policyFile({ accepted_statuses: ["UpToDate", "OutOfDate"] });
    assert.equal((await anew("app", { policy })).ok, true);
    await policyFile({ accepted_statuses: ["UpToDate"] });
    assert.equal((await anew("app", { policy })).verdict.kind, "failed");
    await policyFile({ accepted_advisories: ["MOCK-SA-00001"] });
    assert.equal((await anew("app", { policy })).verdict.kind, "incomplete", "a policy without statuses judges none");
  });

  test("holds no TLS key for anybody, as a gateway or by a certificate's own evidence", async () => {
    const gateway = await anew("gateway");
    assert.deepEqual([gateway.ok, gateway.verdict.kind], [false, "incomplete"]);
    assert.match(check(gateway, "served-key").reason, NEEDS);
    assert.equal((await anew("gateway", { accept: ["tcb"] })).ok, true);
    assert.match(check(await anew("app"), "tls-key").reason, NEEDS);
    world.acmeInfo = undefined;
    const key = generateP256();
    const reportData = reportDataFor("ratls-cert", spkiDer(key));
    world.tls = tlsOf(key, webCa, {
      attestation: makeEvidence(image, { pki, keyProvider: provider, reportData }).attestation,
    });
    assert.match(check(await anew("app"), "tls-key").reason, NEEDS);
    assert.equal(check(await anew("app", { accept: ["tcb"] }), "tls-key").result, "pass");
  });

  test("is what dstack tcb status says of the app and of the gateway, from their URLs", async () => {
    const status = async (url: string): Promise<{ code: number; text: string }> => {
      const { root, cacert, pccs: server } = options();
      return captured(() =>
        tcbStatus(createCli({ ...env(), XDG_CACHE_HOME: join(folder, `cache-${randomUUID()}`) }), url, {
          evaluation: [],
          early: false,
          output: "text",
          ...(root === undefined ? {} : { root }),
          ...(cacert === undefined ? {} : { cacert }),
          pccs: server ?? [],
        }),
      );
    };
    const app = await status(base.href);
    assert.equal(app.code, 3);
    assert.match(app.text, /^app: TDX platform.*^today +20 .*OutOfDate +NOT accepted.*^gateway: TDX platform/ms);
    const gateway = await status(base.href.replace(APP_ID, "gateway"));
    assert.equal(gateway.code, 3);
    assert.match(gateway.text, /^gateway: TDX platform/);
    await assert.rejects(
      status(base.href.replace(APP_ID, "nobody")),
      /no KMS: .*GetMeta with 404.*no gateway: .*no acme-info.*no app: no evidence/,
    );
    edition = { evaluation: 21, microcode: 0 };
    assert.equal((await status(base.href)).code, 0);
  });

  test("is not verified from a file of bare evidence either", async () => {
    const file = join(folder, "outdated.json");
    await writeFile(file, JSON.stringify(evidenceOf(new Uint8Array(32))));
    const judge = (accept: readonly string[]): Promise<VerifyResult> =>
      verifyFile(
        createCli({ ...env(), XDG_CACHE_HOME: join(folder, `cache-${randomUUID()}`) }),
        file,
        options({ imageDir: image.dir, accept: [...accept] }),
      );
    assert.equal((await judge([])).verdict.kind, "incomplete");
    const taken = await judge(["tcb"]);
    assert.equal(taken.ok, true);
    assert.match(fullReportText(taken), /^! platform .*OutOfDate/m);
  });
});
