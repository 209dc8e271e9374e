import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { toHex } from "@dstack/bytes";
import {
  checkPeerCertificate,
  fetchTempCaUnverified,
  parseCertificates,
  readDstackExtensions,
  verifyCertificateChain,
} from "@dstack/ratls";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const APP_ID = "9a".repeat(20);
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kms-main-"));
});
after(() => rm(folder, { recursive: true }));

const DEV = {
  "core.auth_api.type": '"dev"',
  "core.image.verify": "false",
  "core.onboard.quote_enabled": "false",
  "core.onboard.auto_bootstrap_domain": '"127.0.0.1"',
};

async function config(name: string, values: Readonly<Record<string, string>> = DEV): Promise<string> {
  const path = join(folder, `${name}.toml`);
  const all = { "rpc.address": '"127.0.0.1"', "rpc.port": "0", "core.cert_dir": `"${folder}/${name}"`, ...values };
  await writeFile(
    path,
    Object.entries(all)
      .map(([key, value]) => `${key} = ${value}\n`)
      .join(""),
  );
  return path;
}

interface Run {
  readonly child: ChildProcess;
  readonly text: () => string;
}

const run = (...parameters: readonly string[]): Run => start(process.execPath, MAIN, ...parameters);

function start(program: string, ...parameters: readonly string[]): Run {
  let text = "";
  const { PATH, HOME, XDG_CACHE_HOME } = process.env;
  const child = spawn(program, parameters, {
    env: { PATH, HOME, XDG_CACHE_HOME, NODE_COMPILE_CACHE: join(folder, "compiled") },
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [child.stdout!, child.stderr!]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return { child, text: () => text };
}

async function finished({ child, text }: Run): Promise<{ readonly status: number | null; readonly text: string }> {
  const [status] = child.exitCode === null ? ((await once(child, "exit")) as [number | null]) : [child.exitCode];
  return { status, text: text() };
}

async function listening(process: Run): Promise<string> {
  for (let waited = 0; waited < 240_000; waited += 50) {
    const address = /"address":"([^"]+)"/.exec(process.text())?.[1];
    if (address !== undefined) return address;
    if (process.child.exitCode !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(process.text());
}

test("starts from nothing, keeps its roots over a restart, and stops cleanly on SIGTERM", async () => {
  const path = await config("first");
  const roots: string[] = [];
  for (let i = 0; i < 2; i++) {
    const process = run("-c", path);
    const address = await listening(process);
    roots.push(
      (await fetchTempCaUnverified({ baseUrl: `https://${address}/prpc`, timeoutMs: 60_000 })).caCertificatePem,
    );
    process.child.kill("SIGTERM");
    assert.equal((await finished(process)).status, 0);
  }
  assert.equal(roots[0], roots[1]);
  assert.equal(await readFile(join(folder, "first/environment"), "utf8"), "development\n");
});

test("killed at once after its start, it comes up again with the same keys, alone", async () => {
  const path = await config("killed");
  const first = run("-c", path);
  await listening(first);
  first.child.kill("SIGKILL");
  await finished(first);
  const before = await readFile(join(folder, "killed/root-ca.key"), "utf8");
  const second = run("-c", path);
  await listening(second);
  const third = await finished(run("-c", path));
  assert.equal(third.status, 1);
  assert.match(third.text, /is held by process/, "two KMS never share a key folder");
  second.child.kill("SIGINT");
  assert.equal((await finished(second)).status, 0);
  assert.equal(await readFile(join(folder, "killed/root-ca.key"), "utf8"), before);
});

test("dstack-kms -c kms.toml is the KMS: it serves, and ends cleanly where the launcher is told to", async () => {
  const program = start(join(import.meta.dirname, "../../../dstack-kms"), "-c", await config("launched"));
  await listening(program);
  program.child.kill("SIGTERM");
  assert.deepEqual(await finished(program).then(({ status }) => status), 0, program.text());
  assert.ok(!(await readdir(join(folder, "launched"))).includes("lock"));
});

test("a folder marked production refuses every insecure setting (#608, #609)", async () => {
  const path = await config("marked");
  const first = run("-c", path);
  await listening(first);
  first.child.kill("SIGTERM");
  await finished(first);
  await writeFile(join(folder, "marked/environment"), "production\n");
  const { status, text } = await finished(run("-c", path));
  assert.equal(status, 1);
  for (const part of [
    "core.auth_api.type",
    "core.image.verify = false",
    "core.attest_rpc_cert = false",
    "core.enforce_self_authorization = false",
  ])
    assert.ok(text.includes(part), part);
});

test("root keys without a mark are not served until one command marks their folder (#608)", async () => {
  const path = await config("unmarked");
  const first = run("-c", path);
  await listening(first);
  first.child.kill("SIGTERM");
  await finished(first);
  const mark = join(folder, "unmarked/environment");
  await rm(mark);
  const refused = await finished(run("-c", path));
  assert.equal(refused.status, 1);
  assert.match(refused.text, /holds keys and no mark .*dstack-kms mark-key-folder production -c FILE/);
  await assert.rejects(readFile(mark), { code: "ENOENT" });
  const steps = [
    { say: "staging", status: 2, text: /expected production or development, got \\"staging\\"/ },
    { say: "production", status: 1, text: /production refuses: core\.auth_api\.type = / },
    { say: "development", status: 0, text: /key folder marked/ },
    { say: "production", status: 1, text: /is marked development already/ },
  ];
  for (const { say, status, text } of steps) {
    const answer = await finished(run("mark-key-folder", say, "-c", path));
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.text, text);
  }
  const again = run("-c", path);
  await listening(again);
  again.child.kill("SIGTERM");
  assert.equal((await finished(again)).status, 0);
  const fresh = await finished(
    run("mark-key-folder", "production", "-c", await config("fresh", { "core.attest_rpc_cert": "true" })),
  );
  assert.equal(fresh.status, 1);
  assert.match(fresh.text, /has no keys: its first start marks it/);
});

test("told to attest itself where no guest agent answers, it makes no keys and refuses to run unattested", async () => {
  const { status, text } = await finished(
    run("-c", await config("attested", { "core.onboard.auto_bootstrap_domain": '"127.0.0.1"' })),
  );
  assert.equal(status, 1);
  assert.match(
    text,
    /KMS is not allowed to auto-bootstrap: Failed to load cached self boot info: guest agent at unix:.* failed/,
  );
  assert.deepEqual(
    (await readdir(join(folder, "attested"))).filter((name) => /\.(key|crt)$/.test(name)),
    [],
  );
});

test("a bad configuration ends the start with one clear line", async () => {
  for (const [values, part] of [
    [{ ...DEV, "rpc.port": '"x"' }, "rpc.port"],
    [{ ...DEV, "core.onboard.auto_bootstrap_domain": '""', "core.onboard.enabled": "false" }, "core.onboard.enabled"],
  ] as const) {
    const { status, text } = await finished(run("-c", await config(`bad-${part}`, values)));
    assert.equal(status, 1);
    assert.ok(text.trim().split("\n").at(-1)!.includes(part), text);
  }
  assert.equal((await finished(run("-c", join(folder, "missing.toml")))).status, 1);
  assert.equal((await finished(run("--nope"))).status, 2);
  assert.equal((await finished(run("frobnicate", "-c", await config("first")))).status, 2);
  assert.match((await finished(run("--version"))).text, /^0\.6\.0/);
});

test("issues the development gateway's certificate, and only in a development folder (DS #1255)", async () => {
  const path = await config("first");
  const publicKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({
    format: "pem",
    type: "spki",
  });
  await writeFile(join(folder, "gateway.pub"), publicKey);
  const out = join(folder, "gateway.crt");
  const issue = (config: string, appId = APP_ID) =>
    finished(
      run(
        "issue-development-certificate",
        "-c",
        config,
        "--app-id",
        appId,
        "--domain",
        "gateway.dstack.localhost,10.0.2.2",
        "--public-key-file",
        join(folder, "gateway.pub"),
        "--out",
        out,
      ),
    );
  assert.deepEqual(await issue(path), { status: 0, text: "" });
  const chain = parseCertificates(await readFile(out, "utf8"));
  const root = parseCertificates(await readFile(join(folder, "first/root-ca.crt"), "utf8"));
  verifyCertificateChain({ chain, roots: root, now: Math.floor(Date.now() / 1000) });
  assert.equal(chain.length, 3);
  assert.equal(toHex(readDstackExtensions(chain[0]!.raw).appId!), APP_ID);
  checkPeerCertificate(chain[0]!.raw, { kind: "app", appId: readDstackExtensions(chain[0]!.raw).appId! });
  assert.throws(() => checkPeerCertificate(chain[0]!.raw, { kind: "kms" }), /Invalid server cert usage/);
  assert.match((await issue(path, "12")).text, /expected 20 bytes/);
  assert.match((await issue(await config("nowhere"))).text, /is marked nothing yet/);
  await writeFile(join(folder, "first/environment"), "production\n");
  const refused = await issue(path);
  assert.equal(refused.status, 1);
  assert.match(refused.text, /is marked production/);
});
