import assert from "node:assert/strict";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

const ROOT = join(import.meta.dirname, "../../..");
const BUN = join(ROOT, "node_modules/@oven/bun-linux-x64/bin/bun");
const run = promisify(execFile);

/** Of a Node that comes with npm, as a machine has it; the pinned one has none. */
const npm = (process.env["PATH"] ?? "")
  .split(":")
  .map((folder) => join(folder, "npm"))
  .find((path) => existsSync(path));
const registry = (
  process.env["npm_config_registry"] ??
  (npm === undefined
    ? ""
    : (await run(npm, ["config", "get", "registry"], { cwd: tmpdir() }).catch(() => ({ stdout: "" }))).stdout.trim())
).replace(/\/$/, "");

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "auth-simple-guide-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** What a clone has, without what only development needs: that is most of a gigabyte. */
async function checkout(name: string): Promise<string> {
  const to = join(folder, name);
  const { stdout } = await run(
    "git",
    [
      "-C",
      ROOT,
      "ls-files",
      "-z",
      "--",
      "package.json",
      "package-lock.json",
      ".npmrc",
      "libs",
      ":(exclude,glob)libs/*/test/**",
      "services/*/package.json",
      "cli/package.json",
      "services/auth-simple",
    ],
    { maxBuffer: 16 * 1024 * 1024 },
  );
  for (const path of stdout.split("\0").filter((line) => line !== "" && existsSync(join(ROOT, line)))) {
    mkdirSync(dirname(join(to, path)), { recursive: true });
    cpSync(join(ROOT, path), join(to, path));
  }
  const manifest = JSON.parse(readFileSync(join(to, "package.json"), "utf8")) as { devDependencies?: object };
  delete manifest.devDependencies;
  writeFileSync(join(to, "package.json"), JSON.stringify(manifest));
  return join(to, "services/auth-simple");
}

interface Tool {
  readonly name: string;
  readonly install: string;
  readonly start: string;
  readonly program: string | undefined;
}

const TOOLS: readonly Tool[] = [
  { name: "bun", install: "bun install", start: "bun run start", program: existsSync(BUN) ? BUN : undefined },
  { name: "npm", install: "npm install", start: "npm start", program: npm },
];

describe("in a folder of a checkout, as the deployment guide runs it", () => {
  for (const { name, install, start, program } of TOOLS) {
    test(`${install}; PORT=… AUTH_CONFIG_PATH=… ${start}`, async () => {
      assert.ok(program !== undefined, `there is no ${name} on this machine`);
      const cwd = await checkout(name);
      const config = join(folder, `${name}.json`);
      writeFileSync(config, JSON.stringify({ gatewayAppId: name, osImages: [], apps: {} }));
      // Bun's cache must be where its packages are linked from, or it copies each.
      const env = {
        HOME: process.env["HOME"],
        PATH: `${dirname(program)}:/usr/bin:/bin`,
        ...(registry === "" ? {} : { npm_config_registry: registry }),
        npm_config_prefer_offline: "true",
        SSL_CERT_FILE: process.env["SSL_CERT_FILE"],
        NODE_EXTRA_CA_CERTS: process.env["NODE_EXTRA_CA_CERTS"],
      };
      await run("sh", ["-c", install], { cwd, env, timeout: 300_000 });
      const child = spawn("sh", ["-c", `exec ${start}`], {
        cwd,
        env: { ...env, PORT: "0", HOST: "127.0.0.1", AUTH_CONFIG_PATH: config },
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      });
      try {
        const info = (await (await fetch(`http://${await addressOf(child)}/`)).json()) as Record<string, unknown>;
        assert.deepEqual([info["status"], info["gatewayAppId"]], ["ok", name]);
      } finally {
        if (child.exitCode === null && child.signalCode === null) {
          process.kill(-(child.pid ?? 0), "SIGTERM");
          await once(child, "exit");
        }
      }
    });
  }
});

function addressOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        const found = /"address":"([^"]+)"/.exec(output);
        if (found?.[1] !== undefined) resolve(found[1]);
      });
    }
    child.once("close", () => reject(new Error(output)));
  });
}
