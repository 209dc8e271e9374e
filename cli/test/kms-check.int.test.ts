import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { kmsToml } from "../src/stack/configs.ts";
import { DEFAULT_PORTS, stackLayout } from "../src/local/layout.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "cli-kms-check-"));
});
after(() => rm(folder, { recursive: true }));

function dstack(
  ...parameters: string[]
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(import.meta.dirname, "../src/main.ts"), "kms", "check", ...parameters],
      { cwd: folder, env: { ...process.env, NODE_COMPILE_CACHE: join(folder, "compiled") } },
      (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
      },
    );
  });
}

test("kms check says what is insecure and why, with exit code 3, and 1 where the file does not load", async () => {
  const bad = join(folder, "bad.toml");
  const good = join(folder, "good.toml");
  await writeFile(
    bad,
    '[core]\ncert_dir = "keys"\nauth_api.type = "dev"\n[core.onboard]\nauto_bootstrap_domain = "kms"\n',
  );
  await writeFile(good, '[core]\ncert_dir = "keys"\n[core.onboard]\nauto_bootstrap_domain = "kms"\n');
  const text = await dstack("-c", bad);
  const [json, fine, missing] = await Promise.all([
    dstack("-c", bad, "-o", "json"),
    dstack("-c", good),
    dstack("-c", join(folder, "none.toml")),
  ]);
  assert.deepEqual([text.code, json.code, fine.code, missing.code], [3, 3, 0, 1]);
  assert.match(text.stdout, /INSECURE {2}core\.auth_api\.type = "dev"\n +every app/);
  const { findings } = JSON.parse(json.stdout) as { findings: { kind: string; setting: string; reason: string }[] };
  assert.deepEqual(
    findings.map(({ kind, setting }) => [kind, setting]),
    [["insecure", 'core.auth_api.type = "dev"']],
  );
  assert.match(fine.stdout, /nothing insecure/);
  assert.match(missing.stderr, /none\.toml cannot be read/);
});

test("the kms.toml of `dstack up` loads without a complaint, and is insecure in what a simulated TEE needs alone", async () => {
  const file = join(folder, "up.toml");
  await writeFile(file, kmsToml(stackLayout({ HOME: folder }, DEFAULT_PORTS), { url: "http://127.0.0.1:9302" }));
  const { findings } = JSON.parse((await dstack("-c", file, "-o", "json")).stdout) as {
    findings: { kind: string; setting: string }[];
  };
  assert.deepEqual(
    findings.map(({ setting }) => setting),
    [
      "core.attestation.insecure_allow_external_trust_anchors = true",
      "core.attest_rpc_cert = false",
      "core.enforce_self_authorization = false",
    ],
  );
});
