import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "dstack-evidence-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const main = join(import.meta.dirname, "../src/main.ts");
const file = join(folder, "file");

function run(
  verb: string,
  content: string | Uint8Array,
  ...args: string[]
): { status: number | null; stdout: string; stderr: string } {
  writeFileSync(file, content);
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "evidence", verb, file, ...args], {
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

const request = Buffer.concat([
  Buffer.from("44706c65617365207369676e20636572743a0c010203004074", "hex"),
  Buffer.from("6573742e6578616d706c652e636f6d", "hex"),
  Buffer.from("00010000000000", "hex"),
  Buffer.from("0000000000", "hex"),
  Buffer.alloc(64),
  Buffer.from("00", "hex"),
]);

test("decode prints fields and exits 0, or names the refusal and exits 3", () => {
  const json = run("decode", request, "-o", "json");
  assert.equal(json.status, 0, json.stderr);
  const decoded = JSON.parse(json.stdout) as { kind: string; fields: { config: { subject: string } } };
  assert.deepEqual([decoded.kind, decoded.fields.config.subject], ["certificate request", "test.example.com"]);
  assert.match(run("decode", request).stdout, /subject: test\.example\.com/);
  const cut = run("decode", request.subarray(0, -1), "-o", "json");
  assert.equal(cut.status, 3);
  assert.equal((JSON.parse(cut.stdout) as { code: string }).code, "attestation-malformed");
  const nitro = run("decode", Buffer.from("8444a101382200", "hex"));
  assert.deepEqual([nitro.status, nitro.stdout], [3, ""]);
  assert.match(nitro.stderr, /not supported: AWS Nitro Enclave/);
});

test("replay exits 3 where the log does not replay to what came with it, 1 where there is no log, 4 where there is no file", () => {
  const registers = { rtmr0: "00".repeat(48), rtmr1: "00".repeat(48), rtmr2: "00".repeat(48), rtmr3: "00".repeat(48) };
  assert.equal(run("replay", JSON.stringify({ event_log: [], ...registers })).status, 0);
  const wrong = run("replay", JSON.stringify({ event_log: [], ...registers, rtmr3: "11".repeat(48) }), "-o", "json");
  assert.equal(wrong.status, 3);
  assert.equal((JSON.parse(wrong.stdout) as { ok: boolean }).ok, false);
  assert.equal(run("replay", "hello").status, 1);
  rmSync(file);
  assert.equal(spawnSync(process.execPath, [main, "evidence", "replay", file], { timeout: 60_000 }).status, 4);
});
