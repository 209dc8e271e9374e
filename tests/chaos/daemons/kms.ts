import { createSecureContext } from "node:tls";
import { toHex } from "@dstack/bytes";
import { pkcs8Pem, spkiDer } from "@dstack/keys";
import { createTempClientCertificate, encodeCsrV2, fetchTempCaUnverified, signCsr } from "@dstack/ratls";
import { APP_ID, COMPOSE_HASH, Harness, type Guest } from "../../../services/kms/test/harness.ts";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { NastyUpstream } from "../nasty-upstream.ts";
import { message, type Message, type Place } from "../wire-client.ts";
import { listenerOf } from "./listener-of.ts";
import { unknownPlatforms } from "./unknown-platforms.ts";

const TOKEN = "chaos-admin-token-of-some-length";
const JSON_BODY = { "content-type": "application/json" };
/** Allowed by the policy, and served by nobody. */
const NO_IMAGE = "ee".repeat(32);

/** The KMS with its keys, main and administration listener; upstreams: webhook, collateral server, images' server. */
export async function kms(): Promise<Daemon> {
  const harness = await Harness.create();
  const { upstreamPorts, image } = harness;
  await harness.allow({ osImages: [image.hash, NO_IMAGE], composeHashes: [COMPOSE_HASH] });
  const [pccs, images, auth] = await Promise.all(
    (["pccs", "images", "auth"] as const).map((name) =>
      NastyUpstream.start({ backend: { host: "127.0.0.1", port: upstreamPorts[name] } }),
    ),
  );
  if (pccs === undefined || images === undefined || auth === undefined) throw new Error("three upstreams");
  const config = await harness.writeConfig({
    "core.attestation.urls.pccs": `"${pccs.url}"`,
    "core.image.download_url": `"${images.url}/mr_{OS_IMAGE_HASH}.tar.gz"`,
    "core.auth_api.webhook.url": `"${auth.url}"`,
    "core.auth_api.webhook.timeout": '"2s"',
    "core.admin.enabled": "true",
    "core.admin.port": "0",
    "core.admin.auth_token": `"${TOKEN}"`,
    // They are to get as far as they can.
    "core.rate_limit.per_address": "0",
    "core.rate_limit.per_app": "0",
  });
  const process = await startProcess({
    main: "services/kms/src/main.ts",
    args: ["-c", config],
    cwd: harness.folder,
    listeners: 2,
  });
  const [main, admin] = [
    listenerOf(process.listeners[0], {
      name: "the main listener",
      reach: "stranger",
      isTls: true,
      seeds: {
        "/prpc/GetAppEnvEncryptPubKey": () => call("GetAppEnvEncryptPubKey", { app_id: APP_ID }),
        "/prpc/SignCert": () => call("SignCert", signRequest(harness.guest())),
      },
      probe: message("GET", "/health"),
    }),
    listenerOf(process.listeners[1], {
      name: "the administration",
      reach: "token",
      headers: { authorization: `Bearer ${TOKEN}` },
      probe: message("GET", "/openapi.json", "", { authorization: `Bearer ${TOKEN}` }),
    }),
  ];
  const good = harness.guest();
  const goodSign = call("SignCert", signRequest(good));
  const strangers = unknownPlatforms(harness.seed).map((platform) =>
    call("SignCert", signRequest(harness.guest({ pki: { ...harness.pki, ...platform } }))),
  );
  const noImage = call("SignCert", signRequest({ ...good, vmConfig: changed(good.vmConfig, NO_IMAGE) }));
  let turn = 0;
  const common = { place: main.place, reach: "stranger" } as const;
  return {
    name: "KMS",
    process,
    listeners: [main, admin],
    deep: [
      {
        ...common,
        name: "SignCert with evidence of an unknown platform",
        make: () => strangers[turn++ % strangers.length] ?? goodSign,
        upstreams: [pccs],
      },
      {
        ...common,
        name: "SignCert",
        make: () => goodSign,
        upstreams: [auth],
        honest: /"certificate_chain":\["-----BEGIN/,
      },
      {
        ...common,
        name: "SignCert for an image that nobody has",
        make: () => noImage,
        upstreams: [images],
        honest: /image/i,
      },
      {
        ...common,
        name: "GetAppKey",
        place: await placeOf(good, main.place),
        make: () => call("GetAppKey", { api_version: 1, vm_config: good.vmConfig }),
        upstreams: [auth],
        honest: /"env_crypt_key"/,
      },
      {
        ...common,
        name: "GetMeta",
        make: () => call("GetMeta", {}),
        upstreams: [auth],
        remembers: true,
        honest: /"ca_cert"/,
      },
    ],
    upstreams: [pccs, images, auth],
    close: async () => {
      for (const upstream of [pccs, images, auth]) await upstream.close();
      await harness.close();
    },
  };
}

const call = (method: string, body: object): Message =>
  message("POST", `/prpc/${method}?json`, JSON.stringify(body), JSON_BODY);

const changed = (vmConfig: string, hash: string): string =>
  JSON.stringify({ ...(JSON.parse(vmConfig) as object), os_image_hash: hash });

function signRequest({ key, attestation, vmConfig }: Guest): object {
  const config = {
    subject: "chaos",
    altNames: ["app.example.com"],
    serverAuth: true,
    clientAuth: true,
    withEvidence: true,
    withAppInfo: true,
  };
  const csr = encodeCsrV2({ publicKeyInfo: spkiDer(key), config, attestation });
  return { api_version: 2, csr: toHex(csr), signature: toHex(signCsr(csr, key)), vm_config: vmConfig };
}

/** The listener, for who shows evidence in his certificate. */
async function placeOf({ key, attestation }: Guest, place: Place): Promise<Place> {
  if (!("port" in place)) return place;
  const { tempCa } = await fetchTempCaUnverified({
    baseUrl: `https://127.0.0.1:${place.port}/prpc`,
    timeoutMs: 20_000,
  });
  const certificate = createTempClientCertificate({ tempCa, key, attestation, now: Math.floor(Date.now() / 1000) });
  return { ...place, tls: createSecureContext({ cert: certificate.pem, key: pkcs8Pem(key) }) };
}
