import { test } from "node:test";
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { parseHex, toHex, utf8, utf8Decode } from "@dstack/bytes";
import { parseCertificates } from "@dstack/ratls";
import { dispatch, type RpcCall, type RpcResponse } from "@dstack/rpc";
import { parseNetwork } from "@dstack/wireguard";
import { interpretConfig } from "../src/config/gateway-config.ts";
import { gatewaySchema } from "../src/config/schema.ts";
import { Certificates } from "../src/proxy/certificates.ts";
import { Registry } from "../src/registration/registry.ts";
import { gatewayService, type GatewayServiceOptions } from "../src/rpc/gateway-service.ts";
import { memoryLog } from "./support/log.ts";
import { randomId, testKms } from "./support/pki.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface Samples {
  readonly samples: readonly { readonly rpc: string; readonly proto_hex: string; readonly json: unknown }[];
}

const kms = testKms();
const NOW_MS = Math.floor(Date.now() / 1_000) * 1_000;
const identity = kms.client({ appId: randomId(), instanceId: randomId() });
const chain = (identity.certificatePem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []).map(
  (pem) => new Uint8Array(new X509Certificate(pem).raw),
);

/** The configuration behind the recorded answers. */
function config() {
  return interpretConfig(
    gatewaySchema.parse({
      tls: { key: "k", certs: "c", mutual: { ca_certs: "r" } },
      core: {
        debug: { insecure_skip_attestation: false },
        wg: {
          private_key: "SEcoI37oGWynhukxXo5Mi8/8zZBU6abg6T1TOJRMj1Y=",
          ip: "10.8.0.1/16",
          reserved_net: ["10.8.0.1/32"],
          client_ip_range: "10.8.0.0/18",
          endpoint: "203.0.113.7:9202",
        },
        proxy: { base_domain: "apps.example.org", cert_chain: "c", cert_key: "k" },
        sync: { node_id: 1, my_url: "https://gateway.example.com:9202" },
      },
    }),
    {},
  );
}

function service(over: Partial<GatewayServiceOptions> = {}) {
  const { log, lines } = memoryLog();
  const settings = config();
  const registry = new Registry({
    ip: parseNetwork("10.8.0.1/16"),
    reserved: [parseNetwork("10.8.0.1/32")],
    pool: parseNetwork("10.8.0.0/18"),
  });
  return {
    lines,
    registry,
    service: gatewayService({
      config: settings,
      uuid: "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
      roots: parseCertificates(kms.root.pem),
      ownAppId: () => undefined,
      verifyEvidence: undefined,
      certificates: new Certificates({
        source: settings.staticCertificate,
        tlsVersions: ["1.2"],
        log,
        now: () => NOW_MS,
      }),
      register: async (request) => registry.register(request, NOW_MS / 1_000),
      countRegistration: () => undefined,
      now: () => NOW_MS,
      log,
      ...over,
    }),
  };
}

const call = (method: string, peerCertificates: readonly Uint8Array[]): RpcCall => ({
  method,
  requestId: "r",
  peerCertificates,
  remoteAddress: "127.0.0.1",
  headers: {},
  query: new URLSearchParams(),
  signal: AbortSignal.timeout(10_000),
});

function ask(
  target: ReturnType<typeof service>["service"],
  method: string,
  body: Uint8Array,
  json: boolean,
  peerCertificates: readonly Uint8Array[] = chain,
): Promise<RpcResponse> {
  return dispatch(
    target,
    { name: method, verb: "POST", query: new URLSearchParams(json ? "json" : ""), contentType: undefined, body },
    call(method, peerCertificates),
  );
}

vectorTest(
  "answers Info and RegisterCvm with the bytes and JSON of the vectors",
  "gateway/prpc-samples.json",
  async ({ json }) => {
    const { samples } = json<Samples>("gateway/prpc-samples.json");
    const sample = (prefix: string): Samples["samples"][number] =>
      samples.find((row) => row.rpc.startsWith(prefix)) ?? assert.fail(prefix);
    const info = sample("Info response");
    const request = sample("RegisterCvm request (0.6.0");
    const answer = sample("RegisterCvm response (0.6.0");
    // The recorded answer is of this second.
    const recordedMs = 1_700_000_000_000;
    const { service: target, registry } = service();
    assert.equal(toHex((await ask(target, "Info", new Uint8Array(), false)).body), info.proto_hex);
    assert.deepEqual(JSON.parse(utf8Decode((await ask(target, "Info", new Uint8Array(), true)).body)), info.json);
    const timed = service({ now: () => recordedMs });
    assert.equal(
      toHex((await ask(timed.service, "RegisterCvm", parseHex(request.proto_hex), false)).body),
      answer.proto_hex,
    );
    const asJson = JSON.parse(
      utf8Decode((await ask(timed.service, "RegisterCvm", utf8(JSON.stringify(request.json)), true)).body),
    ) as unknown;
    assert.deepEqual(asJson, answer.json);
    assert.deepEqual(
      [...(timed.registry.all()[0]?.portPolicy?.ports ?? [])],
      [
        [443, true],
        [8080, false],
      ],
    );
    assert.equal(registry.size, 0);
  },
);

test("the table says who may call: without a certificate only what anybody may ask is answered", async () => {
  const { service: target } = service();
  const open = ["Info", "AcmeInfo"];
  for (const row of target.routes) {
    const answer = await ask(target, row.method, utf8("{}"), true, []);
    assert.equal(answer.status, open.includes(row.method) ? 200 : 400, row.method);
  }
  assert.deepEqual(target.routes.map((row) => row.method).toSorted(), ["AcmeInfo", "GetPeers", "Info", "RegisterCvm"]);
});

test("an app's certificate is no peer's", async () => {
  const { service: target } = service({ ownAppId: () => randomId() });
  const answer = await ask(target, "GetPeers", utf8("{}"), true);
  assert.equal(answer.status, 400);
  assert.match(utf8Decode(answer.body), /Remote app id is not from dstack-gateway/);
});

test("a refused registration says why to the CVM and in the log, and changes nothing", async () => {
  const { service: target, lines, registry } = service();
  for (const [body, why] of [
    [{ client_public_key: "AQID" }, /invalid client public key/],
    [
      { client_public_key: "x", port_policy: { restrict_mode: true, ports: [{ port: 0, pp: false }] } },
      /port must be between 1 and 65535/,
    ],
    [
      { client_public_key: "x", port_policy: { restrict_mode: true, ports: [{ port: 70_000, pp: false }] } },
      /port 70000 out of u16 range/,
    ],
  ] as const) {
    const answer = await ask(target, "RegisterCvm", utf8(JSON.stringify(body)), true);
    assert.equal(answer.status, 400);
    assert.match((JSON.parse(utf8Decode(answer.body)) as { error: string }).error, why);
    assert.ok(lines.some((line) => line.includes("RegisterCvm refused") && why.test(line)));
  }
  assert.equal(registry.size, 0);
});
