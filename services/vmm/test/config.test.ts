import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { loadConfig, schemaKeys, type UnreadKey } from "@dstack/config";
import { createLogger } from "@dstack/log";
import { z } from "zod";
import { camelKeys } from "../src/config/camel-keys.ts";
import { PROTECTING_KEYS, vmmConfigSchema } from "../src/config/config-schema.ts";
import { UNREAD_KEYS } from "../src/config/unread-keys.ts";
import { checkVmmConfig, readVmmConfig } from "../src/config/vmm-config.ts";
import { VmmError } from "../src/errors.ts";
import { recordedTest } from "../../../tests/vectors/vector-sets.ts";

const refused = (code: string, text?: RegExp) => (error: unknown) =>
  error instanceof VmmError && error.code === code && (text === undefined || text.test(error.message));

/** A table with one value, at the path that dots join. */
const tableOf = (key: string, value: unknown): Record<string, unknown> =>
  key.split(".").reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Record<string, unknown>;

const folder = mkdtempSync(join(tmpdir(), "dstack-config-"));
const load = (file: string) =>
  loadConfig({
    name: "vmm",
    file,
    schema: vmmConfigSchema,
    unread: UNREAD_KEYS,
    protects: PROTECTING_KEYS,
    cwd: folder,
  });
const loadTable = (table: object) => {
  const file = join(folder, "vmm-test.json");
  writeFileSync(file, JSON.stringify(table));
  return load(file);
};

const SEED = "ab".repeat(32);
const withSeed = (key: string, value: unknown): object =>
  key.startsWith("cvm.tee_simulator.")
    ? { cvm: { tee_simulator: { mock_attestation_seed: SEED, [key.slice("cvm.tee_simulator.".length)]: value } } }
    : tableOf(key, value);

/** What JSON calls the values that a key takes, by how the page names them. */
function kindsOf(type: string): string[] {
  if (type.startsWith("list")) return ["array"];
  if (type.startsWith("table")) return ["object"];
  if (type.startsWith("size")) return ["number", "string"];
  if (type === "true or false") return ["boolean"];
  if (type === "port, or null") return ["number", "null"];
  return ["whole number", "number", "port", "seconds"].includes(type) ? ["number"] : ["string"];
}

test("a misspelt key that protects ends the start, and every such key is one that is read", async () => {
  const file = join(folder, "misspelt.json");
  writeFileSync(file, '{"auth":{"token":["x"]}}');
  await assert.rejects(readVmmConfig(file, createLogger({ name: "t" }), folder), /did you mean auth\.tokens\?/);
  await assert.rejects(loadTable({ auth_webhook: { answer_key: [] } }), /auth_webhook\.answer_keys\?/);
  const known = new Set(schemaKeys(vmmConfigSchema).map(({ key }) => key));
  assert.deepEqual(
    PROTECTING_KEYS.filter((key) => !known.has(key)),
    [],
  );
});

const SAMPLES: readonly (readonly [kind: string, value: unknown])[] = [
  ["string", "x"],
  ["number", 7],
  ["boolean", true],
  ["array", [[]]],
  ["object", { x: [] }],
  ["null", null],
];

describe("each key of vmm.toml", () => {
  const keys = schemaKeys(vmmConfigSchema);

  test("is refused by its name with a value of another type (SECURITY #906)", () => {
    let refusals = 0;
    for (const { key, type } of keys) {
      for (const [kind, value] of SAMPLES) {
        if (kindsOf(type).includes(kind)) continue;
        const { success, error } = vmmConfigSchema.safeParse(withSeed(key, value));
        assert.equal(success, false, `${key} takes ${JSON.stringify(value)}`);
        assert.ok(error !== undefined && z.prettifyError(error).includes(`at ${key}`), `${key}: ${kind}`);
        refusals++;
      }
    }
    assert.ok(refusals > 4 * keys.length, String(refusals));
  });

  test("has no namesake among the keys that are not acted on", () => {
    const read = new Set(keys.map(({ key }) => key));
    assert.deepEqual(
      UNREAD_KEYS.filter(({ key }) => read.has(key)),
      [],
    );
  });
});

test("a list or a limit is refused where one of its members is of another type", () => {
  const bad: [object, RegExp][] = [
    [{ cvm: { kms_urls: [7] } }, /at cvm\.kms_urls\[0\]/],
    [{ auth: { tokens: ["a", 7] } }, /at auth\.tokens\[1\]/],
    [{ cvm: { port_mapping: { range: [{ protocol: "sctp", from: 1, to: 2 }] } } }, /range\[0\]\.protocol/],
    [{ limits: { CreateVm: "5 KB" } }, /at limits\.CreateVm/],
    [{ limits: { CreatVm: "5K" } }, /no method of the API has this name/],
    [{ cvm: { log: { max_bytes: "4 MB" } } }, /at cvm\.log\.max_bytes/],
    [{ cvm: { tee_simulator: { mock_attestation_seed: "ab" } } }, /expected 64 hex digits/],
    [
      { cvm: { tee_simulator: { mock_attestation_seed: SEED, platform: "dstack-gcp-tdx" } } },
      /tee_simulator\.platform/,
    ],
  ];
  for (const [table, text] of bad) {
    const { error } = vmmConfigSchema.safeParse(table);
    assert.match(error === undefined ? "taken" : z.prettifyError(error), text);
  }
  assert.equal(vmmConfigSchema.parse({ limits: { CreateVm: "20M" } }).limits["CreateVm"], 20 * 1024 * 1024);
});

describe("keys that are not acted on", () => {
  const judge = async (key: string, value: unknown) => (await loadTable(tableOf(key, value))).withoutEffect;
  const of = (otherwise: UnreadKey["otherwise"]): UnreadKey[] =>
    UNREAD_KEYS.filter((unread) => unread.otherwise === otherwise);

  test("those that would protect something are refused by name unless they say what is so anyway", async () => {
    const asked: [string, unknown][] = [
      ["tls", { certs: "c.pem", mutual: { mandatory: true } }],
      ["cvm.network_filter.mode", "libvirt"],
      ["netd.allowed_uids", [1000]],
      ["cvm.volumes_dir", "/srv/volumes"],
      ["cvm.networking.forward_service_enabled", true],
      ["cvm.networking.map_host_loopback", "10.0.2.2"],
      ["cvm.networking.map_guest_addr", "10.0.2.3"],
      ["cvm.networking.no_map_gw", false],
      ["cvm.networking.ipv4_only", false],
      ["cvm.gpu.exclude", ["01:00.0"]],
      ["cvm.gpu.include", ["01:00.0"]],
    ];
    assert.deepEqual(
      asked.map(([key]) => key).toSorted(),
      of("refused")
        .map(({ key }) => key)
        .toSorted(),
    );
    for (const [key, value] of asked)
      await assert.rejects(judge(key, value), { message: new RegExp(`${key.replaceAll(".", "\\.")} .*no effect`) });
    for (const { key, harmless } of of("refused"))
      for (const value of harmless) assert.deepEqual(await judge(key, value), []);
  });

  test("a value of another type is refused by name (SECURITY #906)", async () => {
    for (const { key } of UNREAD_KEYS.filter((unread) => unread.key !== "tls"))
      for (const value of [[[]], { x: [] }])
        await assert.rejects(judge(key, value), { message: new RegExp(key.replaceAll(".", "\\.")) }, key);
  });
});

test("what the reference takes for granted is taken without a word", async () => {
  const networking = {
    mode: "user",
    forward_service_enabled: false,
    passt_exec: "",
    interface: "",
    address: "10.0.2.10",
    netmask: "255.255.255.0",
    gateway: "10.0.2.2",
    dns: ["1.1.1.1", "1.0.0.1"],
    map_host_loopback: "none",
    map_guest_addr: "none",
    no_map_gw: true,
    ipv4_only: true,
  };
  const { unknownKeys, withoutEffect } = await loadTable({
    workers: 8,
    max_blocking: 64,
    ident: "dstack VMM",
    temp_dir: "/tmp",
    keep_alive: 10,
    log_level: "debug",
    reuse: true,
    image: { registry: "" },
    cvm: {
      volumes_dir: "",
      instance_id: "",
      networking,
      network_filter: { mode: "none", filter: "clean-traffic", parameters: {} },
      gpu: { enabled: false, listing: ["10de:2335"], exclude: [], include: [], allow_attach_all: true },
    },
    netd: { socket: "/run/dstack/netd.sock", allowed_uids: [], libvirt_uri: "qemu:///system" },
  });
  assert.deepEqual([unknownKeys, withoutEffect], [[], []]);
});

recordedTest("the reference's own files load without a word, whichever version", async ({ root, names }) => {
  const files = names("vmm/configs").filter((name) => name.endsWith(".toml"));
  assert.equal(files.length, 3);
  for (const name of [...files, ...["0.5.5", "0.5.6"].map((version) => `generated/${version}/vmm.toml`)]) {
    const { config, unknownKeys, withoutEffect } = await load(join(root, "vmm/configs", name));
    assert.deepEqual([unknownKeys, withoutEffect], [[], []], name);
    checkVmmConfig(config, "/srv/vmm");
  }
});

test("the checked configuration has camelCase names alone, but for a network, which a manifest takes as it is", () => {
  const names = (value: unknown): string[] =>
    typeof value !== "object" || value === null
      ? []
      : Object.entries(value).flatMap(([key, member]) => [key, ...names(member)]);
  const table = { cvm: { tee_simulator: { mock_attestation_seed: SEED }, product: { bios_version: "1" } } };
  const { cvm, ...config } = checkVmmConfig(vmmConfigSchema.parse(table), "/tmp");
  const { networking, ...machine } = cvm;
  assert.deepEqual(
    [...names(config), ...names(machine)].filter((name) => name.includes("_")),
    [],
  );
  assert.deepEqual(names(networking), ["mode", "bridge", "mac_prefix", "net", "dhcp_start", "restrict", "netdev"]);
  assert.equal(machine.product.biosVersion, "1");
  assert.deepEqual(camelKeys({ a_b: [{ c_d2_e: 1 }], f: null }), { aB: [{ cD2E: 1 }], f: null });
});

test("the configuration's rules name the key", () => {
  const check = (over: object): unknown => checkVmmConfig(vmmConfigSchema.parse(over), "/tmp");
  const bad: [object, RegExp][] = [
    [{ host_api: { address: "vsock:not-a-cid" } }, /host_api.address/],
    [{ host_api: { address: "tcp:1.2.3.4" } }, /host_api.address.*TCP/],
    [{ cvm: { cid_pool_size: 0 } }, /cid_pool_size/],
    [{ cvm: { cid_start: 2 } }, /cid_start/],
    [{ cvm: { port_mapping: { range: [{ protocol: "tcp", from: 200, to: 100 }] } } }, /port_mapping.range/],
    [{ cvm: { networking: { mac_prefix: "02:not-hex" } } }, /mac_prefix/],
    [{ cvm: { networking: { mode: "bridge" } } }, /networking.bridge/],
    [{ cvm: { kms_urls: ["not a URL"] } }, /kms_urls/],
    [{ cvm: { auto_restart: { interval: 0 } } }, /interval/],
    [{ supervisor: { sock: "" } }, /supervisor.sock/],
    [{ address: "tcp:example.com" }, /address/],
    [{ auth: { htpasswd_file: "/x" } }, /htpasswd_file/],
  ];
  for (const [over, text] of bad) assert.throws(() => check(over), refused("config-invalid", text));
  assert.throws(() => check({ cvm: { host_share_mode: "unknown" } }));
  check({});
});

test("every form of the listening address works", () => {
  const listen = (over: object): unknown => checkVmmConfig(vmmConfigSchema.parse(over), "/run/x").listen;
  assert.deepEqual(listen({}), { path: "/run/x/vmm.sock", mode: 0o600 });
  assert.deepEqual(listen({ address: "tcp:0.0.0.0:9080" }), { host: "0.0.0.0", port: 9080 });
  assert.deepEqual(listen({ address: "127.0.0.1", port: 12_000 }), { host: "127.0.0.1", port: 12_000 });
  assert.deepEqual(listen({ address: "127.0.0.1:1", port: 2 }), { host: "127.0.0.1", port: 2 });
  assert.deepEqual(listen({ address: "127.0.0.1" }), { host: "127.0.0.1", port: 8000 });
  assert.deepEqual(listen({ address: "[::1]:9080" }), { host: "::1", port: 9080 });
});
