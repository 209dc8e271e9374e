import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "@dstack/process";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const start = (...args: string[]) => run(process.execPath, [MAIN, ...args], { okCodes: [0, 1, 2], timeoutMs: 30_000 });

test("a configuration that cannot be used is one clear line and exit code 1", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "dstack-gateway-main-"));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, "gateway.toml");
  const cases: [string | undefined, RegExp][] = [
    [undefined, /cannot be read/],
    ["[core", /gateway\.toml: /],
    ["[tls]\nkey = 1", /tls/],
    ['[tls]\nkey = "k"\ncerts = "c"\n[tls.mutual]\nca_certs = "r"\n', /core\.wg\.private_key is empty/],
  ];
  for (const [text, why] of cases) {
    if (text === undefined) await rm(file, { force: true });
    else await writeFile(file, text);
    const result = await start("-c", file);
    assert.equal(result.code, 1);
    const lines = result.stderr.trim().split("\n");
    assert.equal(lines.length, 1, result.stderr);
    assert.match(lines[0] ?? "", why);
    assert.match(lines[0] ?? "", /gateway cannot start/);
  }
});

test("help, version and unknown options behave", async () => {
  assert.match((await start("--help")).stdout, /-c, --config/);
  assert.match((await start("-V")).stdout, /^dstack-gateway v0\.6\.0( \(git:[0-9a-f]{20}\))?\n$/);
  assert.equal((await start("--nonsense")).code, 2);
});
