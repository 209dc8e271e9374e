import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { appId, toHex } from "@dstack/bytes";
import { generateP256, pkcs8Pem, spkiDer } from "@dstack/keys";
import { reportDataFor } from "@dstack/attest";
import { run } from "@dstack/process";
import { createAppCa, createLeaf, USAGE } from "@dstack/ratls";
import { generateWireGuardKeys } from "@dstack/wireguard";
import { makeEvidence, makeImage, newPki } from "../../../libs/verify/test/mock-app.ts";
import { ADMIN_TOKEN, DOMAIN, makeLab, type Lab } from "../../../services/gateway/test/support/lab.ts";
import { randomId, type Identity } from "../../../services/gateway/test/support/pki.ts";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { NastyUpstream } from "../nasty-upstream.ts";
import { ask, message, type Message, type Place } from "../wire-client.ts";
import { listenerOf } from "./listener-of.ts";
import { unknownPlatforms } from "./unknown-platforms.ts";

const SEED = "5a".repeat(32);
const JSON_BODY = { "content-type": "application/json" };
const APP_PORT = 80;

/**
 * The gateway with its tunnel: RPC, administration and proxy; upstreams: the collateral server, the
 * agent and the app of a CVM, whose addresses are this host's own here.
 */
export async function gateway(): Promise<Daemon> {
  const lab = await makeLab("ch");
  const pccs = await NastyUpstream.start();
  const network = `10.213.${process.pid % 250}`;
  const addresses = [2, 3].map((host) => `${network}.${host}`);
  for (const address of addresses) await run("ip", ["address", "add", `${address}/32`, "dev", "lo"]);
  const [appUpstream, agent] = await Promise.all([
    NastyUpstream.start({ listen: { host: addresses[0]!, port: APP_PORT } }),
    NastyUpstream.start({ listen: { host: addresses[1]!, port: 8090 } }),
  ]);
  const config = join(lab.folder, "gateway.toml");
  const text = await readFile(config, "utf8");
  // Who resets a connection with an answer under way is found out by nothing moving on it.
  const soon = text.replace("[core.proxy.timeouts]\n", '[core.proxy.timeouts]\nidle = "6s"\n');
  await writeFile(config, `${soon}[core.attestation]\nurls.pccs = "${pccs.url}"\n`);
  const daemon = await startProcess({
    main: "services/gateway/src/main.ts",
    args: ["-c", config],
    cwd: lab.folder,
    listeners: 2,
  });
  await daemon.said(/tcp bridge listening/);
  const main = listenerOf(daemon.listeners[0], {
    name: "the RPC listener",
    reach: "stranger",
    isTls: true,
    probe: message("GET", "/health"),
  });
  const [first, second] = [0, 1].map(() => ({ appId: randomId(), instanceId: randomId() }));
  const identities = [first!, second!].map((ids) => as(main.place, lab.kms.client(ids)));
  // The first has told its policy, the second's agent is asked for it.
  for (const [index, place] of identities.entries()) await registered(place, index === 0);
  const strangers = await Promise.all(
    unknownPlatforms(SEED, 1).map(async (platform) => as(main.place, await withEvidence(lab, platform))),
  );
  const through = (label: string): Place => ({
    port: lab.proxyPort,
    tls: createSecureContext(),
    servername: `${label}.${DOMAIN}`,
  });
  const own = message("GET", "/index");
  return {
    name: "gateway",
    process: daemon,
    listeners: [
      main,
      listenerOf(daemon.listeners[1], {
        name: "the administration",
        reach: "token",
        headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
        probe: message("GET", "/health"),
      }),
      {
        name: "the proxy",
        place: through("gateway"),
        reach: "stranger",
        maxConnections: 100,
        routes: ["/index", "/acme-info", "/health"].map((path) => ({ verb: "GET", path })),
        probe: own,
      },
    ],
    deep: [
      ...strangers.slice(0, 1).map((place) => ({
        name: "RegisterCvm with evidence of an unknown platform",
        place,
        reach: "stranger" as const,
        make: register,
        upstreams: [pccs],
      })),
      {
        name: "RegisterCvm",
        place: identities[1]!,
        reach: "token",
        make: () => register(),
        upstreams: [agent],
        remembers: true,
        honest: /"client_ip"/,
      },
      {
        name: "a request to an app",
        place: through(`${toHex(first!.instanceId)}-${APP_PORT}`),
        reach: "stranger",
        make: () => own,
        upstreams: [appUpstream],
      },
    ],
    upstreams: [pccs, agent, appUpstream],
    close: async () => {
      for (const upstream of [pccs, agent, appUpstream]) await upstream.close();
      for (const address of addresses) await run("ip", ["address", "delete", `${address}/32`, "dev", "lo"]);
      await lab.close();
    },
  };
}

/** A listener, for who shows this certificate. */
const as = (place: Place, { certificatePem, keyPem }: Identity): Place => ({
  ...place,
  tls: createSecureContext({ cert: certificatePem, key: keyPem }),
});

const KEYS = generateWireGuardKeys();

function register(publicKey = KEYS.publicKey, policy?: object): Message {
  const body = { client_public_key: publicKey, ...(policy === undefined ? {} : { port_policy: policy }) };
  return message("POST", "/prpc/RegisterCvm?json", JSON.stringify(body), JSON_BODY);
}

async function registered(place: Place, tellsPolicy: boolean): Promise<void> {
  const policy = tellsPolicy ? { restrict_mode: false, ports: [] } : undefined;
  const { text } = await ask(place, register(tellsPolicy ? generateWireGuardKeys().publicKey : KEYS.publicKey, policy));
  if (!text.includes("client_ip")) throw new Error(`not registered: ${text}`);
}

/** A client's certificate under the KMS's root whose identity is evidence alone, of a platform that nobody knows. */
async function withEvidence(
  { kms, folder }: Lab,
  platform: ReturnType<typeof unknownPlatforms>[number],
): Promise<Identity> {
  const key = generateP256();
  const now = Math.floor(Date.now() / 1000);
  const id = appId(new Uint8Array(randomBytes(20)));
  const ca = createAppCa({ root: kms.root, key: generateP256(), appId: id, now });
  const image = await makeImage(folder);
  const { attestation } = makeEvidence(image, {
    pki: { ...newPki(SEED), ...platform },
    reportData: reportDataFor("ratls-cert", spkiDer(key)),
  });
  const leaf = createLeaf({
    issuer: ca,
    commonName: "chaos",
    publicPoint: key.publicPoint,
    appId: id,
    usage: USAGE.appCustom,
    clientAuth: true,
    attestation,
    now,
  });
  return { certificatePem: [leaf.pem, ca.pem, kms.root.pem].join("\n"), keyPem: pkcs8Pem(key) };
}
