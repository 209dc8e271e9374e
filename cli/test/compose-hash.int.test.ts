import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "dstack-compose-hash-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const main = join(import.meta.dirname, "../src/main.ts");
const file = join(folder, "app-compose.json");

function hash(content: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  writeFileSync(file, content);
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "compose", "hash", file, ...args], {
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

const manifest =
  '{ "runner": "docker-compose", "docker_compose_file": "docker-compose.yml", "bash_script": "start.sh" }\n';
const sortedHash = "8908f00d567395bf9f3ff1d6f3774e3c7eb275d9b2b006a1de654cb173556a0d";

test("prints the SHA-256 of the manifest's bytes, as text and as JSON", () => {
  const raw = createHash("sha256").update(manifest).digest("hex");
  const text = hash(manifest);
  assert.deepEqual([text.status, text.stdout], [0, `${raw}\n`]);
  assert.deepEqual(JSON.parse(hash(manifest, "-o", "json").stdout), { compose_hash: raw, normalised: false });
});

test("prints the hash of client libraries on demand, with and without what the runner does not use", () => {
  assert.equal(hash(manifest, "--normalised").stdout, `${sortedHash}\n`);
  assert.deepEqual(JSON.parse(hash(manifest, "--normalised", "--drop-unused", "-o", "json").stdout), {
    compose_hash: "6148eabae40413a5c15aeab33343e7a219edc0cda2c2556add9a96ec76d61b11",
    normalised: true,
  });
});

test("names what is no manifest, and says what guests would refuse in one", () => {
  const yaml = hash("services:\n  web:\n    image: nginx\n");
  assert.deepEqual([yaml.status, yaml.stdout], [1, ""]);
  assert.match(yaml.stderr, /is not JSON[^]*app-compose\.json/);
  const twice = hash('{"name":"a","name":"b"}');
  assert.equal(twice.status, 0);
  assert.match(twice.stderr, /guests refuse this manifest: .*duplicate/);
});

test("tells a missing file (4) from options that do not go together (2)", () => {
  assert.equal(hash(manifest, "--drop-unused").status, 2);
  const missing = spawnSync(process.execPath, [main, "compose", "hash", join(folder, "nowhere")], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.deepEqual([missing.status, missing.stdout], [4, ""]);
});
