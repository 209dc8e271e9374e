/** The KMS of the benchmark, and a bare TLS server beside it, in a process whose CPU time is theirs alone. */
import { createECDH, createPublicKey, generateKeyPairSync, hkdfSync, sign, verify } from "node:crypto";
import { createServer, type Server } from "node:https";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { parseQuote, planQuote, reportDataFor, trustAnchorFromPem, type QuoteCollateral } from "@dstack/attest";
import { checkCollateral, CollateralFetcher, fixedCollateral, verifyAttestation } from "@dstack/attest/node";
import { AuditLog } from "@dstack/audit-log";
import { appId, instanceId, parseHex } from "@dstack/bytes";
import {
  appK256Key,
  appKeySignature,
  diskCryptKey,
  envCryptKey,
  generateP256,
  pkcs8Pem,
  secp256k1PublicKey,
  spkiDer,
} from "@dstack/keys";
import { createTempClientCertificate } from "@dstack/ratls";
import { webhookAuthApi } from "../services/kms/src/release/auth-api.ts";
import { bootInfoJson } from "../services/kms/src/release/boot-info.ts";
import { APP_ID, Harness, INSTANCE_ID } from "../services/kms/test/harness.ts";
import type { Ask, Ready, Stages, Usage } from "./kms-messages.ts";

const GUESTS = 16;
/** About as long as an answer of the KMS. */
const BARE_ANSWER = "x".repeat(2_000);

let isCold = false;
let collateral: QuoteCollateral | undefined;
// The KMS keeps collateral checked; a plain copy of it is checked anew for every quote.
const fetched = CollateralFetcher.prototype.collateralFor;
CollateralFetcher.prototype.collateralFor = async function (quote, signal) {
  collateral = await fetched.call(this, quote, signal);
  return isCold ? { ...collateral } : collateral;
};

const harness = await Harness.create();
// What it logs is thrown away, not collected.
Object.defineProperty(harness.sink, "text", { get: () => "", set: (_text: string) => {} });
const kms = await harness.start({ "core.rate_limit.per_address": "0", "core.rate_limit.per_app": "0" });
const { tempCa } = await harness.tempCa();
const guests = Array.from({ length: GUESTS }, () => harness.guest());
const identities = guests.map(({ key, attestation }) => ({
  certificatePem: createTempClientCertificate({ tempCa, key, attestation, now: Math.floor(Date.now() / 1000) }).pem,
  keyPem: pkcs8Pem(key),
}));
const bare = await bareServer(join(harness.folder, "keys"));

process.on("message", (ask: Ask) => {
  answer(ask).then(
    (value) => process.send?.(value, () => ask.kind === "stop" && process.disconnect?.()),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.send?.({
  kind: "ready",
  kmsPort: kms.server.port,
  barePort: (bare.address() as AddressInfo).port,
  identities,
  body: JSON.stringify({ api_version: 1, vm_config: guests[0]!.vmConfig }),
} satisfies Ready);

async function answer(ask: Ask): Promise<Usage | Stages | { readonly done: true }> {
  switch (ask.kind) {
    case "collateral":
      ({ isCold } = ask);
      return { done: true };
    case "usage": {
      const { user, system } = process.cpuUsage();
      return { cpuMs: (user + system) / 1000, rssBytes: process.memoryUsage.rss() };
    }
    case "stages":
      return stages();
    case "stop":
      bare.closeAllConnections();
      bare.close();
      await harness.close();
      return { done: true };
  }
}

/** Node's own TLS server with the KMS's certificate; it asks for a client certificate and reads the body. */
async function bareServer(keyFolder: string): Promise<Server> {
  const [key, cert] = await Promise.all(["rpc.key", "rpc.crt"].map((name) => readFile(join(keyFolder, name))));
  const server = createServer(
    { key: key!, cert: cert!, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      request.resume().on("end", () => response.end(BARE_ANSWER));
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function stages(): Promise<Stages> {
  const [guest] = guests;
  const trustAnchor = trustAnchorFromPem(harness.pki.rootPem);
  const now = Math.floor(Date.now() / 1000);
  const checked = checkCollateral({ ...collateral! }, trustAnchor);
  const expectedReportData = reportDataFor("ratls-cert", spkiDer(guest!.key));
  const verified = (source: QuoteCollateral) =>
    verifyAttestation(guest!.attestation, {
      collateralSource: fixedCollateral(source),
      trustAnchor,
      now,
      expectedReportData,
    });
  const verification = await verified(checked);
  if (!verification.ok) throw new Error(verification.reason);

  const root = generateP256();
  const [app, instance] = [appId(parseHex(APP_ID)), instanceId(parseHex(INSTANCE_ID))];
  const k256 = appK256Key(root.scalar, app);
  const bareMessage = new Uint8Array(632);
  const pair = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const bareSignature = sign("sha256", bareMessage, pair.privateKey);
  const publicKey = createPublicKey(pair.privateKey);
  const k256Pair = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  const scalar = (curve: string): void => {
    const ecdh = createECDH(curve);
    ecdh.setPrivateKey(Buffer.from(hkdfSync("sha256", root.scalar, "RATLS", "context", 32)));
    ecdh.getPublicKey();
  };
  const auth = webhookAuthApi({ url: harness.authUrl, timeoutMs: 10_000, userAgent: "bench", clock: Date });
  const boot = bootInfoJson(verification, verification.appInfo);
  const audit = await AuditLog.open({
    path: join(harness.folder, "bench-audit.jsonl"),
    clock: Date,
    log: harness.sink.log,
  });
  const entry = { action: "app-key", outcome: "released", ...boot };
  try {
    return {
      verificationCold: await cpuPerCall(30, () => verified({ ...checked })),
      verificationCached: await cpuPerCall(100, () => verified(checked)),
      auth: await perCall(60, () => auth.bootAuth("app", boot)),
      derivation: await cpuPerCall(100, () => [
        diskCryptKey(root.scalar, app, instance),
        envCryptKey(root.scalar, app),
        appK256Key(root.scalar, app),
      ]),
      signing: await cpuPerCall(100, () => appKeySignature(root.scalar, app, secp256k1PublicKey(k256))),
      auditAlone: await perCall(60, () => audit.append(entry)),
      auditTogether: (await perCall(10, () => Promise.all(Array.from({ length: 64 }, () => audit.append(entry))))) / 64,
      bareVerify: await cpuPerCall(300, () => verify("sha256", bareMessage, publicKey, bareSignature)),
      bareDerivation: await cpuPerCall(100, () => [scalar("prime256v1"), scalar("prime256v1")]),
      bareSigning: await cpuPerCall(100, () => [scalar("secp256k1"), sign("sha256", bareMessage, k256Pair.privateKey)]),
      verifiesCold:
        checked.holding.size +
        planQuote(parseQuote(guest!.attestation.platform.quote), checkCollateral({ ...checked }, trustAnchor), {
          now,
          trustAnchor,
        }).signatures.length,
      verifiesCached: planQuote(parseQuote(guest!.attestation.platform.quote), checked, { now, trustAnchor }).signatures
        .length,
    };
  } finally {
    await audit.close();
  }
}

const CPU_ROUNDS = 9;

/** CPU milliseconds of this process for each call, the median of some rounds: other work on the machine does not count. */
async function cpuPerCall(count: number, run: () => unknown): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < CPU_ROUNDS; round++) {
    const before = process.cpuUsage();
    for (let i = 0; i < count; i++) await run();
    const { user, system } = process.cpuUsage(before);
    times.push((user + system) / 1000 / count);
  }
  return times.toSorted((a, b) => a - b)[CPU_ROUNDS >> 1]!;
}

/** Wall milliseconds of each call. */
async function perCall(count: number, run: () => Promise<unknown>): Promise<number> {
  await run();
  const begun = performance.now();
  for (let i = 0; i < count; i++) await run();
  return (performance.now() - begun) / count;
}
