import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { schemaKeys } from "@dstack/config";
import type { Logger } from "@dstack/log";
import { generateWireGuardKeys } from "@dstack/wireguard";
import { loadGatewayConfig } from "../src/config/gateway-config.ts";
import { gatewaySchema, PROTECTING_KEYS } from "../src/config/schema.ts";
import { GatewayError } from "../src/errors.ts";
import { durationMs, portRange } from "../src/config/units.ts";
import { memoryLog } from "./support/log.ts";
import { recordedTest, vectorTest } from "../../../tests/vectors/vector-sets.ts";

vectorTest("durations are read as the vectors say", "gateway/duration.json", ({ json }) => {
  const vectors = json<{ parse: [string, number | "max"][]; reject: string[] }>("gateway/duration.json");
  for (const [text, seconds] of vectors.parse)
    assert.equal(durationMs(text), seconds === "max" ? Number.POSITIVE_INFINITY : seconds * 1_000);
  for (const text of vectors.reject) assert.throws(() => durationMs(text), GatewayError, text);
});

vectorTest("listen_port takes the forms of the vectors", "gateway/config/listen-port.json", ({ json }) => {
  const vectors = json<{ ok: [number | string, number[]][]; bad: (number | string)[] }>(
    "gateway/config/listen-port.json",
  );
  for (const [value, ports] of vectors.ok) assert.deepEqual(portRange(value), ports);
  for (const value of vectors.bad) assert.throws(() => portRange(value), GatewayError, String(value));
});

/** gateway.toml as set-up scripts of released versions write it for a gateway on the host. */
const HOST_SETUP = `log_level = "info"
address = "127.0.0.1"
port = 9012

[tls]
key = "/var/lib/gateway/certs/rpc.key"
certs = "/var/lib/gateway/certs/rpc.cert"

[tls.mutual]
ca_certs = "/var/lib/gateway/certs/ca.cert"
mandatory = false

[core]
kms_url = "https://localhost:9011"
rpc_domain = "gateway.example.com"
run_in_dstack = false

[core.sync]
enabled = false

[core.certbot]
enabled = false
workdir = "/var/lib/gateway/certbot"
acme_url = "https://acme.example.com/directory"
cf_api_token = ""
auto_set_caa = true
domain = "*.apps.example.com"
renew_interval = "30m"
renew_days_before = "10d"
renew_timeout = "10m"

[core.wg]
private_key = "KEY"
public_key = "PUBLIC"
listen_port = 9013
ip = "10.9.8.1/24"
reserved_net = ["10.9.8.1/31"]
client_ip_range = "10.9.8.1/24"
config_path = "/var/lib/gateway/wg.conf"
interface = "gw0"
endpoint = "10.0.2.2:9013"

[core.proxy]
cert_chain = "/var/lib/gateway/certbot/live/cert.pem"
cert_key = "/var/lib/gateway/certbot/live/key.pem"
base_domain = "apps.example.com"
listen_addr = "0.0.0.0"
listen_port = 9014
agent_port = 8090
app_address_ns_prefix = "_tapp-address"
`;
const DEVELOPMENT = `${HOST_SETUP}
[core.debug]
insecure_skip_attestation = true
key_file = ""
`;

for (const [name, shape] of [
  ["on a host", HOST_SETUP],
  ["for development", DEVELOPMENT],
] as const)
  test(`a released set-up's configuration ${name} loads, with nothing unknown in it`, async (t) => {
    const keys = generateWireGuardKeys();
    const folder = await mkdtemp(join(tmpdir(), "gateway-config-"));
    t.after(() => rm(folder, { recursive: true }));
    const file = join(folder, "gateway.toml");
    await writeFile(file, shape.replace("KEY", keys.privateKey).replace("PUBLIC", keys.publicKey));
    const { log, lines } = memoryLog();
    const config = await loadGatewayConfig(file, {}, log);
    assert.deepEqual(config.main, { host: "127.0.0.1", port: 9012 });
    assert.equal(config.wireGuard.publicKey, keys.publicKey);
    assert.equal(config.staticCertificate?.baseDomain, "apps.example.com");
    assert.equal(config.skipAttestation, true);
    assert.ok(config.insecureSettings.length > 0);
    assert.deepEqual(
      lines.filter((line) => line.includes("unknown configuration key")),
      [],
    );
  });

test("a misspelt key that protects ends the start, and every such key is one that is read", async (t) => {
  const misspelt = (text: string): string => `${text}\n[core.proxy]\ntls_version = ["1.3"]\n`;
  await assert.rejects(load(t, misspelt), /did you mean core\.proxy\.tls_versions\?/);
  const known = new Set(schemaKeys(gatewaySchema).map(({ key }) => key));
  assert.deepEqual(
    PROTECTING_KEYS.filter((key) => !known.has(key)),
    [],
  );
});

recordedTest("the guide's configurations load, with nothing unknown in them", async ({ root }) => {
  for (const name of ["guide-hostcfg.toml", "guide-dev.toml"]) {
    const { log, lines } = memoryLog();
    const config = await loadGatewayConfig(join(root, `gateway/config/${name}`), {}, log);
    assert.deepEqual(config.main, { host: "127.0.0.1", port: 13642 });
    assert.equal(config.wireGuard.publicKey, "xc+7qkdeNFfl4g4xirGGGXHMc0cABuE5IHaLeCASVWM=");
    assert.equal(config.staticCertificate?.baseDomain, "apps.example.org");
    assert.equal(config.skipAttestation, true);
    assert.ok(config.insecureSettings.length > 0);
    assert.deepEqual(
      lines.filter((line) => line.includes("unknown configuration key")),
      [],
    );
  }
});

async function load(
  t: { after: (fn: () => Promise<void>) => void },
  change: (text: string) => string,
  env: Record<string, string> = {},
  log: Logger = memoryLog().log,
): Promise<Awaited<ReturnType<typeof loadGatewayConfig>>> {
  const folder = await mkdtemp(join(tmpdir(), "dstack-gateway-config-"));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, "gateway.toml");
  await writeFile(file, change(BASE));
  return loadGatewayConfig(file, env, log);
}

const BASE = `
address = "127.0.0.1:9303"
[tls]
key = "k"
certs = "c"
[tls.mutual]
ca_certs = "r"
[core.admin]
enabled = true
auth_token = "t"
[core.wg]
private_key = "SEcoI37oGWynhukxXo5Mi8/8zZBU6abg6T1TOJRMj1Y="
`;

test("what is not built and would be unsafe to ignore is refused by name", async (t) => {
  const unsafe: [string, RegExp][] = [
    ["[core.auth]\nenabled = true", /core\.auth\.enabled/],
    ["[core.sync]\nenabled = true", /core\.sync\.enabled/],
    ["[core.proxy]\ninbound_pp_enabled = true", /inbound_pp_enabled/],
    ["[core.debug]\ninsecure_enable_debug_rpc = true", /debug listener/],
    ["[core.certbot]\nenabled = true", /core\.certbot/],
    ['[core.attestation.root_ca]\ntdx = "x"', /insecure_allow_external_trust_anchors/],
  ];
  for (const [text, why] of unsafe)
    await assert.rejects(
      load(t, (base) => `${base}\n${text}\n`),
      why,
    );
});

test("each leaf of the wireguard section is checked", async (t) => {
  const bad: [string, string, RegExp][] = [
    ['private_key = "SEcoI37oGWynhukxXo5Mi8/8zZBU6abg6T1TOJRMj1Y="', 'private_key = ""', /private_key is empty/],
    ["[core.wg]", '[core.wg]\npublic_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="', /does not belong/],
    ["[core.wg]", '[core.wg]\nendpoint = "host\\nPostUp = x:1"', /expected host:port/],
    ["[core.wg]", '[core.wg]\ninterface = "../x"', /interface name/],
    ["[core.wg]", '[core.wg]\nip = "10.0.0.1"', /expected a network/],
    ["[core.wg]", "[core.wg]\nlisten_port = 0", /listen_port/],
    ["[core.wg]", '[core.wg]\nclient_ip_range = "10.1.0.0/16"', /Client IP range is not in the network/],
  ];
  for (const [from, to, why] of bad)
    await assert.rejects(
      load(t, (base) => base.replace(from, to)),
      why,
      to,
    );
});

test("the admin API without a token does not start", async (t) => {
  const without = (base: string): string => base.replace('auth_token = "t"', "");
  await assert.rejects(load(t, without), /admin API is enabled but has no token; set core\.admin\.auth_token/);
  assert.equal((await load(t, without, { ADMIN_API_TOKEN: " x " })).admin?.token, "x");
  const open = await load(t, (base) => base.replace('auth_token = "t"', "insecure_no_auth = true"));
  assert.equal(open.admin?.token, undefined);
  assert.ok(open.insecureSettings.includes("core.admin.insecure_no_auth = true"));
});

test("addresses of listeners take all three forms", async (t) => {
  assert.deepEqual((await load(t, (base) => base)).main, { host: "127.0.0.1", port: 9303 });
  assert.deepEqual((await load(t, (base) => base.replace("127.0.0.1:9303", "unix:/run/x.sock"))).main, {
    path: "/run/x.sock",
    mode: 0o600,
  });
  assert.deepEqual(
    (await load(t, (base) => base.replace('address = "127.0.0.1:9303"', 'address = "0.0.0.0"\nport = 8000'))).main,
    { host: "0.0.0.0", port: 8000 },
  );
  await assert.rejects(
    load(t, (base) => base.replace("127.0.0.1:9303", "127.0.0.1:99999")),
    /port of at most 65535/,
  );
});

test("the example of the reference page loads", async (t) => {
  const page = await readFile(new URL("../../../docs/reference/gateway.md", import.meta.url), "utf8");
  const toml = /```toml\n([\s\S]*?)```/.exec(page)?.[1] ?? "";
  const config = await load(t, () =>
    toml.replace(/private_key = "\.\.\."/, 'private_key = "SEcoI37oGWynhukxXo5Mi8/8zZBU6abg6T1TOJRMj1Y="'),
  );
  assert.equal(config.wireGuard.listenPort, 9305);
  assert.deepEqual(config.raw.core.proxy.listen_port, [9443]);
});

test("settings that are taken and not acted on are refused where they would feel like protection, else told or silent", async (t) => {
  const refusals: [string, RegExp][] = [
    ["[core.debug]\nkey_file = 3", /core\.debug\.key_file: .*expected string/],
    ['[core.proxy]\ntls_crypto_provider = "fips"', /core\.proxy\.tls_crypto_provider: /],
  ];
  for (const [text, why] of refusals)
    await assert.rejects(
      load(t, (base) => `${base}\n${text}\n`),
      why,
    );
  await assert.rejects(
    load(t, (base) => base.replace("[tls.mutual]", "[tls.mutual]\nmandatory = true")),
    /tls\.mutual\.mandatory = true would have no effect: Info, AcmeInfo and health/,
  );
  await assert.rejects(
    load(t, (base) => base.replace('auth_token = "t"', 'htpasswd_file = "/users"')),
    /core\.admin\.htpasswd_file = "\/users" would have no effect/,
  );
  const { log, lines } = memoryLog();
  await load(
    t,
    (base) =>
      `workers = 4\n${base}\n[core.proxy]\nktls = {}\n[core.debug]\nkey_file = "k.json"\n[core.attestation]\nurls.amd_kds = "https://kds"\n`,
    {},
    log,
  );
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { setting: string }).setting),
    ['core.attestation.urls.amd_kds = "https://kds"', 'core.debug.key_file = "k.json"', "core.proxy.ktls"],
  );
});
