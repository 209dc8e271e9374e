import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import { z } from "zod";
import { createLogger } from "@dstack/log";
import {
  ConfigError,
  listenOfEnvironment,
  loadConfig,
  mergeDeep,
  parseDuration,
  parseListen,
  parseTcpListen,
  refused,
  schemaKeys,
  silent,
  told,
  warnOf,
} from "@dstack/config";

const schema = z.object({
  address: z.string().default("127.0.0.1"),
  cvm: z.object({ qemu_path: z.string().default("") }).prefault({}),
});

const UNREAD = [
  silent("workers", z.int(), "one process serves"),
  told("cvm.kds", z.string(), ["https://k"], "nobody is asked"),
  refused("tls.mandatory", z.boolean(), [false], "none is required"),
];

async function load(toml: string): Promise<{ value: z.output<typeof schema>; log: string }> {
  const dir = await mkdtemp(join(tmpdir(), "dstack-config-"));
  const file = join(dir, "x.toml");
  await writeFile(file, toml);
  let log = "";
  const loaded = await loadConfig({ name: "dstack-no-such", file, schema, cwd: dir, unread: UNREAD });
  warnOf(createLogger({ name: "t", stream: { write: (text: string) => (log += text) } }), loaded);
  return { value: loaded.config, log };
}

test("defaults fill what the file leaves out", async () => {
  assert.deepEqual((await load("")).value, { address: "127.0.0.1", cvm: { qemu_path: "" } });
});

test("an unknown key is ignored with a warning that names the nearest one (DS #830)", async () => {
  const { value, log } = await load('[cvm]\nqemu_paht = "/x"\n');
  assert.equal(value.cvm.qemu_path, "");
  assert.match(log, /"setting":"cvm.qemu_paht","suggestion":"qemu_path"/);
});

test("an unknown key that looks like one that protects ends the start, and names that one", async () => {
  const keys = z
    .object({ list_keys: z.array(z.string()), policy: z.string(), user: z.string(), size: z.int() })
    .partial();
  const protects = ["part.list_keys", "part.policy", "part.user"];
  const start = (part: string, key: string): Promise<unknown> =>
    loadConfig({
      name: "dstack-no-such",
      file: undefined,
      overrides: { [part]: { [key]: "x" } },
      schema: z.object({ part: keys.prefault({}) }),
      protects,
    });
  for (const [key, meant] of [
    ["list_key", "part.list_keys"],
    ["listKeys", "part.list_keys"],
    ["lists_key", "part.list_keys"],
    ["policy_file", "part.policy"],
    ["my-policy", "part.policy"],
    ["tcb_policy", "part.policy"],
    ["plicy", "part.policy"],
    ["users", "part.user"],
    ["used", "part.user"],
    ["uses_it", "nothing"],
    ["siz", "nothing"],
  ] as const) {
    const said = await start("part", key).then(
      () => "nothing",
      (error: unknown) => (error instanceof ConfigError && error.code === "invalid" ? error.message : String(error)),
    );
    const expected = `dstack-no-such: unknown key part.${key}; did you mean ${meant}? It protects, and under another name it would not`;
    assert.equal(said, meant === "nothing" ? "nothing" : expected);
  }
  await assert.rejects(start("parts", "policy"), /unknown key parts; did you mean part\?/);
  await start("elsewhere", "policy");
});

test("overrides win over the files, key by key", async () => {
  const dir = await mkdtemp(join(tmpdir(), "dstack-config-"));
  await writeFile(join(dir, "x.toml"), 'address = "10.0.0.1"\n[cvm]\nqemu_path = "/x"\n');
  const { config } = await loadConfig({
    name: "dstack-no-such",
    file: join(dir, "x.toml"),
    overrides: { address: "10.0.0.2" },
    schema,
    cwd: dir,
  });
  assert.deepEqual(config, { address: "10.0.0.2", cvm: { qemu_path: "/x" } });
});

test("a wrong type and a missing file are refused by name", async () => {
  await assert.rejects(
    load("address = 3"),
    (error: unknown) => error instanceof ConfigError && error.code === "invalid" && error.message.includes("address"),
  );
  await assert.rejects(
    loadConfig({ name: "n", file: "/nonexistent/x.toml", schema }),
    (error: unknown) => error instanceof ConfigError && error.code === "unreadable",
  );
  await assert.rejects(load("a = = b"), (error: unknown) => error instanceof ConfigError && error.code === "syntax");
});

test("a file that cannot be read says where it breaks, and never what stands there (#956)", async () => {
  const folder = await mkdtemp(join(tmpdir(), "config-"));
  try {
    for (const [name, text, place] of [
      ["x.toml", 'auth_token = \\"S3cret"\n', /x\.toml: line 1, column \d+: /],
      ["x.toml", 'a = 1\nauth_token = "S3cret\n', /x\.toml: line 2, column \d+: /],
      ["x.toml", 'auth_token = "S3cret" S3cret', /x\.toml: line 1, column \d+: /],
      ["x.json", '{"auth_token": S3cret}', /x\.json: not valid JSON/],
      ["x.json", '{"auth_token":"S3cret" "b":1}', /x\.json: not valid JSON/],
      ["x.json", '{"auth_token":"S3cret","auth_token":"S3cret2"}', /x\.json: "auth_token" is said twice/],
    ] as const) {
      const file = join(folder, name);
      await writeFile(file, text);
      await assert.rejects(loadConfig({ name: "n", file, schema }), (error: unknown) => {
        assert.ok(error instanceof ConfigError && error.code === "syntax");
        assert.match(error.message, place);
        assert.doesNotMatch(inspect(error), /S3cret/);
        return true;
      });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a key of the reference that nothing acts on is silent, told or refused, and no unknown one", async () => {
  assert.deepEqual(await load("workers = 8\ncvm.kds = 'https://k'\ntls.mandatory = false"), {
    value: { address: "127.0.0.1", cvm: { qemu_path: "" } },
    log: "",
  });
  const { log } = await load("cvm.kds = 'https://other'\ntls.other = 1");
  assert.match(log, /"setting":"cvm.kds = \\"https:\/\/other\\""[^\n]*has no effect: nobody is asked/);
  assert.match(log, /"setting":"tls".*unknown/);
  for (const [toml, why] of [
    [
      "tls.mandatory = true",
      /x\.toml: tls\.mandatory = true would have no effect: none is required; .*set it to false/,
    ],
    ["tls.mandatory = 'yes'", /tls\.mandatory: .*expected boolean/],
    ["workers = 'many'", /workers: .*expected number/],
  ] as const)
    await assert.rejects(load(toml), (error: Error) => error instanceof ConfigError && why.test(error.message), toml);
});

test("a schema tells of each of its keys what it takes, what it is without it, and what it is for", () => {
  const keys = schemaKeys(
    z.object({
      name: z.string().describe("Its name"),
      cvm: z
        .object({
          size: z
            .union([z.int(), z.string()])
            .meta({ title: "size" })
            .transform(Number)
            .prefault("2G")
            .describe("How large"),
          modes: z.array(z.enum(["a", "b"])).optional(),
        })
        .prefault({}),
      limits: z.record(z.string(), z.number()).default({}),
    }),
  );
  assert.deepEqual(
    keys.map(({ key, type, default: fallback, required, meaning }) => [key, type, fallback, required, meaning]),
    [
      ["name", "text", undefined, true, "Its name"],
      ["cvm.size", "size", "2G", false, "How large"],
      ["cvm.modes", 'list of "a", "b"', undefined, false, ""],
      ["limits", "table", {}, false, ""],
    ],
  );
});

test("tables merge key by key and arrays are replaced", () => {
  assert.deepEqual(mergeDeep({ a: { x: 1, y: [1, 2] } }, { a: { y: [3] } }), { a: { x: 1, y: [3] } });
});

test("durations take only the documented forms", () => {
  assert.equal(parseDuration("2m"), 120_000);
  assert.equal(parseDuration("300ms"), 300);
  assert.equal(parseDuration("never", { never: true }), Number.POSITIVE_INFINITY);
  for (const text of ["", "2", "2w", "-1s", "1.5s", "never", "9999999999999999d"])
    assert.throws(() => parseDuration(text), ConfigError, text);
});

test("an address to listen at is an IP with or without a port, or a Unix socket", () => {
  for (const [text, expected] of [
    ["127.0.0.1", { host: "127.0.0.1", port: 9 }],
    ["127.0.0.1:80", { host: "127.0.0.1", port: 80 }],
    ["tcp:10.0.0.1:0", { host: "10.0.0.1", port: 0 }],
    ["::", { host: "::", port: 9 }],
    ["::1", { host: "::1", port: 9 }],
    ["[::1]", { host: "::1", port: 9 }],
    ["[fe80::1]:65535", { host: "fe80::1", port: 65_535 }],
    ["unix:/run/x.sock", { path: "/run/x.sock" }],
    ["unix:./x", { path: "./x" }],
  ] as const)
    assert.deepEqual(parseListen(text, 9), expected, text);
  for (const text of [
    "",
    "localhost",
    "localhost:80",
    "1.2.3",
    "1.2.3.4:",
    "1.2.3.4:65536",
    "[1.2.3.4]:1",
    "[::1",
    "unix:",
    "http://1.2.3.4",
    "1.2.3.4:-1",
  ])
    assert.throws(() => parseListen(text, 9), ConfigError, text);
});

test("a server of a network alone takes no Unix socket", () => {
  assert.deepEqual(parseTcpListen("127.0.0.1", 9), { host: "127.0.0.1", port: 9 });
  assert.deepEqual(parseTcpListen("[::1]:80", 9), { host: "::1", port: 80 });
  for (const text of ["unix:/run/x", "unix:", "", "localhost"])
    assert.throws(() => parseTcpListen(text, 9), ConfigError, text);
});

test("HOST and PORT say where a server listens, an empty one nothing, and a wrong one is refused by name", () => {
  const fallback = { host: "127.0.0.1", port: 3000 };
  assert.deepEqual(listenOfEnvironment({}, fallback), fallback);
  assert.deepEqual(listenOfEnvironment({ HOST: "", PORT: "" }, fallback), fallback);
  assert.deepEqual(listenOfEnvironment({ HOST: "::", PORT: "0" }, fallback), { host: "::", port: 0 });
  for (const HOST of [" ", "localhost", "1.2.3.4:5", "unix:/x"])
    assert.throws(() => listenOfEnvironment({ HOST }, fallback), /^ConfigError: HOST: expected/, HOST);
  for (const PORT of [" ", "65536", "-1", "0x10", "1e3", "http"])
    assert.throws(() => listenOfEnvironment({ PORT }, fallback), /^ConfigError: PORT: expected/, PORT);
});
