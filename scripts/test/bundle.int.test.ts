import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

const BUNDLE = join(import.meta.dirname, "../bundle.ts");
const PAGE = join(import.meta.dirname, "../../services/kms/src/setup/page");
const run = promisify(execFile);
let folder: string;
before(async () => (folder = await mkdtemp(join(tmpdir(), "bundle-"))));
after(() => rm(folder, { recursive: true }));

test("a service as one file is the same bytes each time, and holds no path of the checkout", async () => {
  const texts = [];
  for (const name of ["one", "other"]) {
    const { stdout } = await run(process.execPath, ["--", BUNDLE, "kms", join(folder, name)]);
    assert.equal(stdout, `${join(folder, name, "dstack-kms.mjs")}\n`);
    texts.push(await readFile(stdout.trim(), "utf8"));
  }
  assert.equal(texts[0], texts[1]);
  assert.equal(texts[0]?.includes(join(import.meta.dirname, "../..")), false);
});

test("the KMS as one file is set up by its page, which lies beside it", { timeout: 60_000 }, async () => {
  const out = join(folder, "kms");
  await run(process.execPath, ["--", BUNDLE, "kms", out]);
  assert.deepEqual((await readdir(out)).toSorted(), ["dstack-kms.mjs", "page"]);
  const config = join(folder, "kms.toml");
  await writeFile(
    config,
    `rpc = { address = "127.0.0.1", port = 0 }
[core]
cert_dir = "${folder}/keys"
auth_api = { type = "dev" }
image = { verify = false }
onboard = { quote_enabled = false, address = "127.0.0.1", port = 0 }
`,
  );
  const child = spawn(process.execPath, ["--", join(out, "dstack-kms.mjs"), "-c", config], {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe"],
  });
  try {
    let said = "";
    const base = await new Promise<string>((resolve, reject) => {
      child.stderr.on("data", (chunk) => {
        const address = /"address":"(127\.0\.0\.1:\d+)"/.exec((said += String(chunk)))?.[1];
        if (address !== undefined) resolve(`http://${address}`);
      });
      child.once("exit", () => reject(new Error(said)));
    });
    assert.match(await (await fetch(`${base}/`)).text(), /<title>/);
    assert.equal(await (await fetch(`${base}/page/main.js`)).text(), await readFile(join(PAGE, "main.js"), "utf8"));
  } finally {
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
});

test(
  "the other services start as one file too, and what is none is refused with the list",
  { timeout: 60_000 },
  async () => {
    for (const name of ["auth-eth", "auth-simple", "gateway", "verifier"]) {
      const { stdout } = await run(process.execPath, ["--", BUNDLE, name, folder]);
      // Loaded whole: it gets as far as what its configuration or its variables lack.
      const { stdout: out, stderr } = await run(process.execPath, ["--", stdout.trim(), "--help"], {
        cwd: folder,
        env: { PORT: "x" },
        timeout: 10_000,
      }).catch((error: { stdout: string; stderr: string }) => error);
      assert.match(out + stderr, /PORT|-c/, `${name}: ${out}${stderr}`);
    }
    await assert.rejects(run(process.execPath, ["--", BUNDLE, "guest", folder]), /usage: .*\n {2}services: auth-eth, /);
  },
);
