import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { schemaKeys, warnOf } from "@dstack/config";
import { createLogger } from "@dstack/log";
import * as insecure from "../src/config/insecure-settings.ts";
import { loadKmsConfig, type KmsConfig } from "../src/config/kms-config.ts";
import { kmsSchema, PROTECTING_KEYS } from "../src/config/schema.ts";
import { CONTAINER_0_5_6, DEFAULTS_0_6_0, HOST_SETUP_0_5_5 } from "./released-configs.ts";

let folder: string;
let said = "";
const log = createLogger({ name: "test", stream: { write: (text: string) => (said += text) } });
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kms-config-"));
});
after(() => rm(folder, { recursive: true }));

const insecureSettings = (config: KmsConfig): string[] => insecure.insecureSettings(config).map(({ text }) => text);

async function load(toml: string, env: Record<string, string> = {}): Promise<KmsConfig> {
  const file = join(folder, "test.toml");
  await writeFile(file, toml);
  said = "";
  const loaded = await loadKmsConfig({ file, env, cwd: folder });
  warnOf(log, loaded);
  return loaded.config;
}

test("loads the file that 0.5.5's host set-up writes, and says what is insecure in it", async () => {
  const config = await load(`log_level = "info"
[rpc]
address = "127.0.0.1"
port = 9043
[rpc.tls]
key = "${folder}/certs/rpc.key"
certs = "${folder}/certs/rpc.crt"
[rpc.tls.mutual]
ca_certs = "${folder}/certs/tmp-ca.crt"
[core]
cert_dir = "${folder}/certs"
[core.gpu]
enabled = false
[core.auth_api]
type = "dev"
[core.onboard]
quote_enabled = false
address = "127.0.0.1"
port = 9043
auto_bootstrap_domain = "kms.example.com"
[core.image]
verify = false
`);
  assert.deepEqual(config.listen, { host: "127.0.0.1", port: 9043 });
  assert.deepEqual(config.auth, { kind: "dev", gatewayAppId: "any" });
  assert.deepEqual(config.selfAttestation, {
    authorizeSelf: false,
    attestCertificate: false,
    quoteEnabled: false,
    agentAddress: undefined,
  });
  assert.deepEqual(insecureSettings(config), [
    'core.auth_api.type = "dev"',
    "core.image.verify = false",
    "core.onboard.quote_enabled = false",
    "core.attest_rpc_cert = false",
    "core.enforce_self_authorization = false",
  ]);
  assert.deepEqual(insecure.settingsAgainstHandOver(config), [
    'core.auth_api.type = "dev"',
    "core.image.verify = false",
    "core.onboard.quote_enabled = false",
  ]);
  assert.equal(said, "", "no key of that file is unknown");
});

test("loads the file of the 0.6.0 installer and the defaults of an empty one", async () => {
  const config = await load(`[core]
enforce_self_authorization = false
[core.auth_api]
type = "webhook"
[core.auth_api.webhook]
url = "http://10.0.2.2:8001"
[core.onboard]
auto_bootstrap_domain = "10.0.2.2"
[core.metrics]
enabled = false
[core.image]
download_url = "https://download.dstack.org/os-images/mr_{OS_IMAGE_HASH}.tar.gz"
download_timeout = "2m"
[limits]
SignCert = "1 MiB"
`);
  assert.deepEqual(
    [config.autoBootstrapDomain, config.metricsEnabled, config.image.downloadTimeoutMs, config.limits.SignCert],
    ["10.0.2.2", false, 120_000, 1_048_576],
  );
  assert.deepEqual(config.selfAttestation, {
    authorizeSelf: false,
    attestCertificate: true,
    quoteEnabled: true,
    agentAddress: undefined,
  });
  const empty = await load("");
  assert.deepEqual(
    [empty.listen.port, empty.keyFolder, empty.pccsUrls[0], empty.image.cacheDir],
    [8000, "/etc/kms/certs", "https://pccs.phala.network", "/usr/share/dstack/images"],
  );
  assert.deepEqual(insecureSettings(empty), []);
});

test("an older pccs_url and the environment name the collateral server, the newest key first", async () => {
  assert.equal((await load("", { PCCS_URL: "http://a" })).pccsUrls[0], "http://a");
  assert.equal((await load('core.pccs_url = "http://b"', { PCCS_URL: "http://a" })).pccsUrls[0], "http://b");
  assert.equal(
    (await load('core.pccs_url = "http://b"\n[core.attestation.urls]\npccs = "http://c"')).pccsUrls[0],
    "http://c",
  );
});

test("collateral servers are one or a list in order, of URLs alone", async () => {
  const list = '[core.attestation.urls]\npccs = ["http://a", "https://b"]';
  assert.deepEqual((await load(list)).pccsUrls, ["http://a", "https://b"]);
  assert.deepEqual((await load('core.pccs_url = ["http://a", "https://b"]')).pccsUrls, ["http://a", "https://b"]);
  for (const wrong of ["[]", '["ftp://a"]', '["http://a", 5]', `[${'"http://a",'.repeat(9)}]`])
    await assert.rejects(load(`[core.attestation.urls]\npccs = ${wrong}`), /core\.attestation\.urls\.pccs/, wrong);
});

test("external roots need the switch that admits them, and unknown root names are errors", async () => {
  await assert.rejects(
    load('[core.attestation.root_ca]\ntdx = "/x.pem"'),
    /external attestation trust anchors are configured but insecure_allow_external_trust_anchors is false/,
  );
  await assert.rejects(load('[core.attestation.root_ca]\ntdx2 = "/x.pem"'), /tdx2/);
  const config = await load(
    '[core.attestation]\ninsecure_allow_external_trust_anchors = true\nroot_ca.tdx = "root.pem"',
  );
  assert.equal(config.tdxRootPath, join(folder, "root.pem"));
  assert.deepEqual(insecureSettings(config), ["core.attestation.insecure_allow_external_trust_anchors = true"]);
});

test("misspelt keys are named with a suggestion (DS #830)", async () => {
  await load("[core]\nenforce_self_authorisation = false");
  assert.match(said, /core\.enforce_self_authorisation.*enforce_self_authorization/);
  assert.equal((await load('[limits]\nSignCrt = "1 MiB"\nGetMeta = "1 KiB"')).limits.GetMeta, 1_024);
  assert.match(said, /limits\.SignCrt.*SignCert/);
});

test("settings of the reference that have no effect here are named, with the reason", async () => {
  await load(
    '[core]\nsev_snp_key_release = true\naws_nitro_tpm_key_release = true\n[core.attestation]\nurls.amd_kds = "https://kds.example"\ninsecure_allow_external_trust_anchors = true\nroot_ca.gcp_tpm = "/x.pem"\nroot_ca.tdx = "/y.pem"',
  );
  const lines = said
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { readonly setting: string; readonly msg: string });
  assert.deepEqual(
    lines.map(({ setting }) => setting),
    [
      "core.sev_snp_key_release = true",
      "core.aws_nitro_tpm_key_release = true",
      'core.attestation.urls.amd_kds = "https://kds.example"',
      'core.attestation.root_ca.gcp_tpm = "/x.pem"',
    ],
  );
  for (const { msg } of lines) assert.match(msg, /^has no effect: /);
  await load("rpc.tls.mutual.mandatory = false\ncore.sev_snp_key_release = false");
  assert.equal(said, "");
});

test("what would feel like protection and has no effect is refused, with the reason", async () => {
  for (const [toml, why] of [
    ["rpc.tls.mutual.mandatory = true", /rpc\.tls\.mutual\.mandatory = true would have no effect: .*evidence/],
    ['rpc.tls.mutual.ca_certs = "/own/ca.pem"', /rpc\.tls\.mutual\.ca_certs = "\/own\/ca\.pem" would have no effect/],
  ] as const)
    await assert.rejects(load(toml), (error: Error) => why.test(error.message), toml);
  await load('rpc.tls.mutual.ca_certs = "/etc/kms/certs/tmp-ca.crt"');
});

test("each insecure setting is a key that is read, spelled as an operator would write it", () => {
  const keys = new Set(schemaKeys(kmsSchema).map(({ key }) => key));
  for (const { key, text, why } of insecure.INSECURE_SETTINGS) {
    assert.ok(keys.has(key), key);
    assert.ok(text.startsWith(`${key} = `), text);
    assert.ok(why.length > 40, why);
  }
});

test("refuses wrong values in one line that names the key", async () => {
  for (const [toml, part] of [
    ["rpc.port = 70000", "rpc.port"],
    ['rpc.address = ""', "rpc.address"],
    ['rpc.address = "unix:/run/kms.sock"', "rpc.address"],
    ['core.onboard.address = "kms.example.com"', "core.onboard.address"],
    ['core.admin = { enabled = true, auth_token = "t", address = "" }', "core.admin.address"],
    ['core.image.download_timeout = "2 weeks"', "download_timeout"],
    ['core.image.download_url = "http://x/y"', "OS_IMAGE_HASH"],
    ['core.image.download_url = "file:///{OS_IMAGE_HASH}"', "download_url"],
    ['core.auth_api.type = "none"', "auth_api.type"],
    ['core.auth_api.webhook.url = "http://user:pw@h"', "webhook.url"],
    ['limits.SignCert = "1 GiB"', "limits.SignCert"],
    ['rpc.tls.key = "/elsewhere/rpc.key"', "rpc.tls"],
    ["core.admin.enabled = true", "core.admin"],
    ['[core.auth_api.webhook]\nbearer_token = "a"\nbearer_token_file = "b"', "bearer_token"],
    ['core.auth_api.webhook.ca_cert = "/x"', "ca_cert"],
  ] as const) {
    await assert.rejects(load(toml), (error: unknown) => error instanceof Error && error.message.includes(part), toml);
  }
});

test("the admin token comes from the file or the environment", async () => {
  assert.equal((await load("core.admin.enabled = true", { ADMIN_API_TOKEN: " t \n" })).admin?.token, "t");
  assert.equal(
    (await load('[core.admin]\nenabled = true\nauth_token = "s"', { ADMIN_API_TOKEN: "t" })).admin?.token,
    "s",
  );
  const open = await load("[core.admin]\nenabled = true\ninsecure_no_auth = true");
  assert.deepEqual([open.admin?.token, insecureSettings(open)], [undefined, ["core.admin.insecure_no_auth = true"]]);
});

test("the files of 0.5.5, 0.5.6 and 0.6.0 load without a complaint", async () => {
  for (const toml of [HOST_SETUP_0_5_5(folder, "0.0.0.0"), CONTAINER_0_5_6(folder, 8000), DEFAULTS_0_6_0(folder)]) {
    const config = await load(toml);
    assert.equal(said, "");
    assert.equal(config.keyFolder, join(folder, "certs"));
    assert.equal(config.setUp.requireToken, false, "open, as released");
    assert.deepEqual(config.rateLimit, { perAddress: 3_000, perApp: 600 });
  }
  const container = await load(CONTAINER_0_5_6(folder, 8000));
  assert.deepEqual(
    [container.setUp.listen, container.pccsUrls[0], container.onboardEnabled, container.autoBootstrapDomain],
    [{ host: "0.0.0.0", port: 8000 }, "https://pccs.example", true, ""],
  );
  assert.deepEqual(
    [container.selfAttestation.attestCertificate, container.selfAttestation.authorizeSelf, insecureSettings(container)],
    [true, true, []],
  );
  const defaults = await load(DEFAULTS_0_6_0(folder));
  assert.deepEqual(
    [defaults.setUp.siteName, defaults.limits.GetAppKey, insecureSettings(defaults)],
    ["Site", 10 * 2 ** 20, []],
  );
});

test("the set-up listener, its token and the rate limits are configured", async () => {
  const config = await load(
    '[core]\nsite_name = "x"\n[core.onboard]\naddress = "127.0.0.1"\nport = 8080\nrequire_token = true\n[core.rate_limit]\nper_address = 0\nper_app = 5',
  );
  assert.deepEqual(config.setUp, { listen: { host: "127.0.0.1", port: 8080 }, requireToken: true, siteName: "x" });
  assert.deepEqual(config.rateLimit, { perAddress: 0, perApp: 5 });
  for (const toml of [
    "core.rate_limit.per_app = -1",
    "core.rate_limit.per_address = 1.5",
    'core.onboard.require_token = "yes"',
    'core.onboard.legacy_source_mr_aggregated = ["abcd"]',
    `core.onboard.legacy_source_mr_aggregated = ["${"0g".repeat(32)}"]`,
    "core.onboard.port = 65536",
  ])
    await assert.rejects(load(toml), /expected|Too (small|big)/i, toml);
});

test("a misspelt key that protects ends the start, and every such key is one that is read", async () => {
  for (const [toml, meant] of [
    ["[core.auth_api.webhook]\nanswer_key = []", "core.auth_api.webhook.answer_keys"],
    ["[core.attestation]\npolicy_file = '/x'", "core.attestation.policy"],
    ["[core.atestation]\npolicy = '/x'", "core.attestation"],
    ["[core.onboard]\ntoken_required = true\nrequires_token = true", "core.onboard.require_token"],
  ] as const)
    await assert.rejects(
      load(toml),
      (error: Error) => error.message.includes(`did you mean ${meant}? It protects`),
      toml,
    );
  const known = new Set(schemaKeys(kmsSchema).map(({ key }) => key));
  assert.deepEqual(
    PROTECTING_KEYS.filter((key) => !known.has(key)),
    [],
  );
});
