import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { checkConfig } from "../src/config/check-config.ts";
import { HOST_SETUP_0_5_5 } from "./released-configs.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kms-check-"));
});
after(() => rm(folder, { recursive: true }));

async function file(toml: string): Promise<string> {
  const path = join(folder, "kms.toml");
  await writeFile(path, toml);
  return path;
}

async function insecure(toml: string): Promise<string[]> {
  const { findings } = await checkConfig(await file(toml), {});
  for (const { reason } of findings) assert.ok(reason.length > 20, reason);
  return findings.filter(({ kind }) => kind === "insecure").map(({ setting }) => setting);
}

/** A configuration for a TEE, with nothing to complain of. */
const GOOD = `[core]\ncert_dir = "none"\n[core.auth_api.webhook]\nurl = "https://auth.example.com"\n[core.onboard]\nrequire_token = true\n`;

test("names each insecure switch of the reference, with a reason", async () => {
  assert.deepEqual(await insecure(HOST_SETUP_0_5_5(folder, "0.0.0.0")), [
    'core.auth_api.type = "dev"',
    "core.image.verify = false",
    "core.onboard.quote_enabled = false",
    "core.attest_rpc_cert = false",
    "core.enforce_self_authorization = false",
  ]);
  assert.deepEqual(await insecure(GOOD), []);
});

test("names doors that stand open without any switch (#610, DS #1315)", async () => {
  assert.deepEqual(await insecure(""), ['core.onboard.address = "0.0.0.0"'], "the set-up page of the defaults");
  assert.deepEqual(await insecure(GOOD.replace("require_token = true", 'auto_bootstrap_domain = "kms"')), []);
  assert.deepEqual(await insecure(GOOD.replace("require_token = true", 'address = "127.0.0.1"')), []);
  assert.deepEqual(await insecure(GOOD.replace("https://auth.example.com", "http://10.0.2.2:3001")), [
    'core.auth_api.webhook.url = "http://10.0.2.2:3001"',
  ]);
  for (const url of ["http://127.0.0.1:1", "http://[::1]:1", "http://auth-api:8000", "http://localhost"])
    assert.deepEqual(await insecure(GOOD.replace("https://auth.example.com", url)), [], url);
  assert.deepEqual(await insecure(`${GOOD}[core.admin]\nenabled = true\nauth_token = "t"\naddress = "0.0.0.0"\n`), [
    'core.admin.address = "0.0.0.0"',
  ]);
  assert.deepEqual(
    await insecure(GOOD.replace("[core]", `[core]\nadmin_token_hash = "${createHash("sha256").digest("hex")}"`)),
    ["core.admin_token_hash"],
  );
  const keys = join(folder, "keys");
  await mkdir(keys);
  await writeFile(join(keys, "root-ca.key"), "");
  assert.deepEqual(await insecure(`core.cert_dir = "${keys}"`), [], "no set-up where there are keys");
});

test("notes unknown keys with what was meant, and a production folder that would refuse the start", async () => {
  const marked = join(folder, "marked");
  await mkdir(marked);
  await writeFile(join(marked, "environment"), "production\n");
  const { environment, findings } = await checkConfig(
    await file(
      `[core]\ncert_dir = "${marked}"\nenforce_self_authorisation = false\nimage.verify = false\n[core.onboard]\nrequire_token = true\n`,
    ),
    {},
  );
  assert.equal(environment, "production");
  const notes = findings.filter(({ kind }) => kind === "note");
  assert.deepEqual(
    notes.map(({ setting }) => setting),
    [`core.cert_dir = "${marked}"`, "core.enforce_self_authorisation"],
  );
  assert.match(notes[1]?.reason ?? "", /did you mean enforce_self_authorization\?/);
});

test("notes a setting of the reference that has no effect, and why", async () => {
  const { findings } = await checkConfig(await file(GOOD.replace("[core]", "[core]\nsev_snp_key_release = true")), {});
  assert.deepEqual(
    findings.map(({ kind, setting }) => [kind, setting]),
    [["note", "core.sev_snp_key_release = true"]],
  );
  assert.match(findings[0]?.reason ?? "", /^has no effect: /);
});

test("the command prints text or JSON, ends with 3 where something is insecure, and changes nothing", async () => {
  const run = async (...parameters: string[]) => {
    let text = "";
    const child = spawn(process.execPath, [join(import.meta.dirname, "../src/main.ts"), "check", ...parameters], {
      cwd: folder,
      env: { NODE_COMPILE_CACHE: join(folder, "compiled") },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const [code] = (await once(child, "close")) as [number];
    return { code, text };
  };
  const good = await file(GOOD);
  await mkdir(join(folder, "compiled"));
  const before = await readdir(folder);
  const fine = await run("-c", good);
  const [bad, broken, usage] = await Promise.all([
    run("-o", "json"),
    run("-c", join(folder, "none.toml")),
    run("-o", "xml"),
  ]);
  assert.deepEqual([fine.code, /nothing insecure/.test(fine.text)], [0, true], fine.text);
  assert.equal(bad.code, 0, "the working directory's kms.toml is the good one");
  assert.deepEqual((JSON.parse(bad.text) as { findings: unknown[] }).findings, []);
  assert.deepEqual([broken.code, usage.code], [1, 2]);
  await file(`${GOOD}[core.image]\nverify = false\n`);
  const insecureRun = await run("-c", good);
  assert.equal(insecureRun.code, 3);
  assert.match(insecureRun.text, /INSECURE {2}core\.image\.verify = false\n +a VM's OS is not compared/);
  assert.deepEqual(await readdir(folder), before);
});
