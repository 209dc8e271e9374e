import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createLogger } from "@dstack/log";
import { loadVerifierConfig, type VerifierConfig } from "../src/config.ts";
import { gate } from "../src/gate.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "verifier-config-"));
});
after(() => rm(folder, { recursive: true, force: true }));

async function load(toml: string, env: Record<string, string> = {}): Promise<VerifierConfig> {
  const file = join(folder, "x.toml");
  await writeFile(file, toml);
  return loadVerifierConfig({
    file,
    env,
    log: createLogger({ name: "t", stream: { write: () => undefined } }),
    cwd: folder,
  });
}

test("an empty file gives the reference's defaults", async () => {
  assert.deepEqual(await load(""), {
    listen: { host: "0.0.0.0", port: 8080 },
    imageCacheDir: "/tmp/dstack-verifier/cache",
    imageDownloadUrl: "https://download.dstack.org/os-images/mr_{OS_IMAGE_HASH}.tar.gz",
    imageDownloadTimeoutMs: 300_000,
    pccsUrls: ["https://pccs.phala.network"],
    policyPath: undefined,
    tdxRootPath: undefined,
  });
});

test("the collateral server is found in the places of each release", async () => {
  const env = { PCCS_URL: "http://env.example" };
  assert.equal((await load("", env)).pccsUrls[0], "http://env.example");
  assert.equal((await load('pccs_url = "http://old.example"', env)).pccsUrls[0], "http://old.example");
  assert.equal(
    (await load('pccs_url = "http://old.example"\n[attestation.urls]\npccs = "http://new.example"', env)).pccsUrls[0],
    "http://new.example",
  );
});

test("collateral servers are one or a list in order, and the policy file lies below the working folder", async () => {
  const many = await load(
    '[attestation]\npolicy = "policy.json"\n[attestation.urls]\npccs = ["http://a.example", "http://b.example"]',
  );
  assert.deepEqual(many.pccsUrls, ["http://a.example", "http://b.example"]);
  assert.equal(many.policyPath, join(folder, "policy.json"));
  assert.equal(
    (await load("", { DSTACK_VERIFIER_ATTESTATION__URLS__PCCS: "http://c.example" })).pccsUrls[0],
    "http://c.example",
  );
  assert.equal((await load('[attestation.urls]\npccs = ""')).pccsUrls[0], "https://pccs.phala.network");
  await assert.rejects(
    load('[attestation.urls]\npccs = ["http://a.example", "x"]'),
    /attestation\.urls\.pccs: expected an http/,
  );
});

test("where it listens is an IP address, and anything else is refused by name", async () => {
  assert.deepEqual((await load('address = "::1"')).listen, { host: "::1", port: 8080 });
  for (const address of ["", "localhost", "unix:/run/verifier.sock"])
    await assert.rejects(load(`address = "${address}"`), /^VerifierError: address "/, address);
});

test("a level of the log in the file is told to have no effect", async () => {
  const lines: string[] = [];
  const file = join(folder, "level.toml");
  await writeFile(file, 'log_level = "debug"');
  const log = createLogger({ name: "t", stream: { write: (line: string) => lines.push(line) } });
  await loadVerifierConfig({ file, env: {}, log, cwd: folder });
  assert.match(lines.join(""), /log_level = \\"debug\\"[^\n]*DSTACK_LOG_LEVEL alone/);
});

test("variables win over the file, and two underscores go down a table", async () => {
  const config = await load('port = 1\nimage_cache_dir = "cache"', {
    DSTACK_VERIFIER_PORT: "8081",
    DSTACK_VERIFIER_IMAGE_DOWNLOAD_TIMEOUT_SECS: "7",
    DSTACK_VERIFIER_ATTESTATION__URLS__PCCS: "http://deep.example",
    DSTACK_VERIFIER_ATTESTATION__INSECURE_ALLOW_EXTERNAL_TRUST_ANCHORS: "true",
    DSTACK_VERIFIER_ATTESTATION__ROOT_CA__TDX: "root.pem",
  });
  assert.deepEqual(
    [config.listen.port, config.imageDownloadTimeoutMs, config.pccsUrls[0], config.tdxRootPath, config.imageCacheDir],
    [8081, 7_000, "http://deep.example", join(folder, "root.pem"), join(folder, "cache")],
  );
});

test("another root of trust needs its switch, and unknown roots are refused", async () => {
  await assert.rejects(load('[attestation.root_ca]\ntdx = "root.pem"'), {
    code: "config-invalid",
    message: /insecure_allow_external_trust_anchors is false/,
  });
  await assert.rejects(
    load('[attestation]\ninsecure_allow_external_trust_anchors = true\n[attestation.root_ca]\ntxd = "root.pem"'),
    /txd/,
  );
});

test("values that cannot work are refused by their key", async () => {
  for (const [toml, key] of [
    ['port = "many"', "port"],
    ["port = 70000", "port"],
    ['image_download_url = "https://example.com/x.tar.gz"', "image_download_url"],
    ['image_download_url = "ftp://example.com/{OS_IMAGE_HASH}"', "image_download_url"],
    ['pccs_url = "pccs"', "pccs"],
    ["image_download_timeout_secs = 0", "image_download_timeout_secs"],
  ] as const) {
    await assert.rejects(load(toml), new RegExp(key), toml);
  }
});

const STAYING = new AbortController().signal;

test("who leaves while it waits at the gate leaves its place, and is never run", async () => {
  const gated = gate({ running: 1, waiting: 1 });
  const door = Promise.withResolvers<void>();
  const running = gated(() => door.promise, STAYING);
  const leaving = new AbortController();
  const gone = gated(() => assert.fail("run for nobody"), leaving.signal);
  leaving.abort(new Error("hung up"));
  await assert.rejects(gone, /hung up/);
  await assert.rejects(
    gated(() => assert.fail("run for nobody"), leaving.signal),
    /hung up/,
  );
  const next = gated(() => Promise.resolve("next"), STAYING);
  door.resolve();
  await running;
  assert.equal(await next, "next");
});

test("the gate runs a few, keeps some waiting in order, and turns the rest away", async () => {
  const gated = gate({ running: 2, waiting: 2 });
  const started: number[] = [];
  const doors = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
  const tasks = doors.map(({ promise }, index) =>
    gated(async () => {
      started.push(index);
      await promise;
      if (index === 1) throw new Error("broken");
      return index;
    }, STAYING),
  );
  await assert.rejects(
    gated(() => Promise.resolve(), STAYING),
    { code: "overloaded" },
  );
  assert.deepEqual(started, [0, 1]);
  doors[1]!.resolve();
  await assert.rejects(tasks[1]!, /broken/);
  doors[0]!.resolve();
  assert.equal(await tasks[0], 0);
  doors[2]!.resolve();
  doors[3]!.resolve();
  assert.deepEqual(await Promise.all([tasks[2], tasks[3]]), [2, 3]);
  assert.deepEqual(started, [0, 1, 2, 3]);
  assert.equal(await gated(() => Promise.resolve("free again"), STAYING), "free again");
});

test("a misspelt key that protects ends the start, in the file and in the environment", async () => {
  const meant = /did you mean attestation\.policy\? It protects/;
  await assert.rejects(load('[attestation]\npolicy_file = "policy.json"'), meant);
  await assert.rejects(load("", { DSTACK_VERIFIER_ATTESTATION__POLICY_FILE: "policy.json" }), meant);
});
