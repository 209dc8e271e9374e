import { X509Certificate } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { generateWireGuardKeys, parseNetwork } from "@dstack/wireguard";
import { parseCertificates } from "@dstack/ratls";
import { raiseSites } from "../../../libs/errors/test/refusals/raise-sites.ts";
import { assertWords, walkRefusals } from "../../../libs/errors/test/refusals/walk.ts";
import { portRange } from "../src/config/units.ts";
import { GATEWAY_ERRORS } from "../src/errors.ts";
import { identifyClient, requireApp } from "../src/identity/client-identity.ts";
import { portPolicy } from "../src/registration/port-policy.ts";
import { Registry } from "../src/registration/registry.ts";
import { readState } from "../src/registration/state-file.ts";
import { startMainListener } from "../src/rpc/main-listener.ts";
import { randomId, testKms } from "./support/pki.ts";

const kms = testKms();
const options = { roots: parseCertificates(kms.root.pem), now: Math.floor(Date.now() / 1_000) };
const chain = () =>
  (
    kms
      .client({ appId: randomId(), instanceId: randomId() })
      .certificatePem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []
  ).map((pem) => new Uint8Array(new X509Certificate(pem).raw));
const request = (instance: string, publicKey: string = generateWireGuardKeys().publicKey) => ({
  appId: "a".repeat(40),
  instanceId: instance.padStart(40, "0"),
  composeHash: "",
  publicKey,
  portPolicy: undefined,
});
/** With so many addresses. */
const registry = (bits: number): Registry =>
  new Registry({
    ip: parseNetwork("10.44.0.1/24"),
    reserved: [parseNetwork("10.44.0.1/32")],
    pool: parseNetwork(`10.44.0.0/${bits}`),
  });
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gateway-refusals-"));
});
after(() => rm(folder, { recursive: true }));

walkRefusals({
  folder: "services/gateway",
  errors: "GatewayError",
  table: GATEWAY_ERRORS,
  cases: {
    "config-invalid": { produce: () => portRange("443-70000"), says: /listen_port "443-70000": expected a port or/ },
    "state-unreadable": {
      produce: async () => {
        await mkdir(join(folder, "data"));
        await writeFile(join(folder, "data/state.json"), '{"version":');
        await readState(join(folder, "data/state.json"));
      },
      says: /state\.json does not hold this gateway's registrations: .+\. Restore it from a backup/,
    },
    "state-unwritable": { heldBy: "services/gateway/test/registrations.test.ts", words: "state-unwritable" },
    "certificate-unusable": {
      produce: () =>
        startMainListener({
          config: { raw: { tls: { key: join(folder, "rpc.key"), certs: join(folder, "rpc.cert") }, core: {} } },
        } as unknown as Parameters<typeof startMainListener>[0]),
      says: /RPC certificate tls\.certs .*rpc\.cert with tls\.key .*rpc\.key: ENOENT.*issue-development-certificate/,
    },
    "identity-missing": {
      produce: () => identifyClient([], { ...options, verifyEvidence: undefined }),
      says: /client certificate required: neither app-info nor attestation/,
    },
    "identity-invalid": {
      produce: () => requireApp(chain(), randomId(), options),
      says: /not from dstack-gateway: its certificate names app [0-9a-f]{40}, expected [0-9a-f]{40}/,
    },
    "registration-refused": {
      produce: () => registry(24).register(request("1", "AQID"), 0),
      says: /invalid client public key: .*32 bytes/,
    },
    "pool-exhausted": {
      produce: () => {
        const full = registry(30);
        for (let n = 1; n < 9; n++) full.register(request(`${n}`), 0);
      },
      says: /failed to allocate IP address for client: IP pool exhausted.*client_ip_range/,
    },
    "port-policy-invalid": {
      produce: () => portPolicy(true, [{ port: 70_000, pp: false }]),
      says: /port 70000 out of u16 range/,
    },
  },
  words: {
    "neither app-info nor attestation provided": "nothing came",
    "Client authentication is required": "nothing came",
    "this gateway has no collateral service": "yes or no",
    "port must be between 1 and 65535": "stands in the text",
  },
});

test("each answer of the RPC methods that refuses shows a value", () =>
  assertWords(raiseSites("services/gateway", "RpcError"), {}));
