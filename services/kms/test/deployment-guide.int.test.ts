/** What the deployment guides of released versions tell operators to type, against real processes. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { Harness } from "./harness.ts";
import { startMockAgent, type MockAgent } from "./mock-agent.ts";
import { HOST_SETUP_0_5_5 } from "./released-configs.ts";
import { startScriptedWebhook, type ScriptedWebhook } from "./scripted-webhook.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);
let harness: Harness;
let auth: ScriptedWebhook;
const agents: MockAgent[] = [];
const running: Kms[] = [];

before(async () => {
  harness = await Harness.create();
  auth = await startScriptedWebhook();
  for (const instance of ["1", "2"])
    agents.push(await startMockAgent(harness, join(harness.folder, `agent-${instance}.sock`), instance));
  for (const agent of agents) auth.kms.add(agent.mrAggregated);
});
after(async () => {
  for (const { child } of running) {
    child.kill("SIGTERM");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  for (const part of [...agents, auth]) part.close();
  await harness.close();
});

interface Kms {
  readonly child: ChildProcess;
  readonly port: number;
  readonly text: () => string;
}

function start(
  parameters: readonly string[],
  options: { readonly port: number; readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): Kms {
  let text = "";
  const child = spawn(process.execPath, [MAIN, ...parameters], {
    cwd: options.cwd,
    env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: join(harness.folder, "compiled"), ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const kms = { child, port: options.port, text: () => text };
  running.push(kms);
  return kms;
}

async function said(kms: Kms, what: RegExp): Promise<RegExpExecArray> {
  for (let waited = 0; waited < 240_000; waited += 50) {
    const found = what.exec(kms.text());
    if (found !== null) return found;
    if (kms.child.exitCode !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(kms.text());
}

/**
 * A port for both listeners, set-up and service, as the guides have it. Below the range that
 * outgoing connections draw from, so that none takes it between the two.
 */
async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = randomInt(20_000, 32_000);
    const server = createServer().listen(port, "127.0.0.1");
    const free = await Promise.race([
      once(server, "listening").then(() => true),
      once(server, "error").then(() => false),
    ]).catch(() => false);
    if (!free) continue;
    server.close();
    await once(server, "close");
    return port;
  }
  throw new Error("no free port in 50 draws");
}

const curl = async (...parameters: string[]): Promise<string> =>
  (await promisify(execFile)("curl", ["-s", "--max-time", "60", ...parameters])).stdout;

/** A container's KMS in its VM: set up by hand, over the port that it serves on afterwards. */
async function startInVm(name: string, agent: number): Promise<Kms> {
  const port = await freePort();
  const cwd = join(harness.folder, name);
  await mkdir(cwd, { recursive: true });
  const config = await harness.writeConfig({
    "rpc.port": String(port),
    "core.cert_dir": `"${cwd}/certs"`,
    "core.attest_rpc_cert": "true",
    "core.enforce_self_authorization": "true",
    "core.auth_api.webhook.url": `"${auth.url}"`,
    "core.onboard.auto_bootstrap_domain": '""',
    "core.onboard.address": '"127.0.0.1"',
    "core.onboard.port": String(port),
    "core.onboard.quote_enabled": "true",
  });
  await copyFile(config, join(cwd, "guide.toml"));
  const kms = start(["-c", join(cwd, "guide.toml")], {
    port,
    cwd,
    env: { DSTACK_AGENT_ADDRESS: agents[agent]?.address ?? "" },
  });
  await said(kms, /no keys yet/);
  return kms;
}

test(
  "the guides' curl lines bootstrap a KMS, onboard a second one from it, and finish both",
  { timeout: 600_000 },
  async () => {
    const first = await startInVm("first", 0);
    const base = `http://127.0.0.1:${first.port}`;
    const json = (text: string): Record<string, string> => JSON.parse(text) as Record<string, string>;
    assert.match(await curl(`${base}/`), /<title>/);
    const info = json(await curl(`${base}/prpc/Onboard.GetAttestationInfo?json`));
    assert.equal(info["mr_aggregated"], agents[0]?.mrAggregated);
    // As one guide has it: no content type, curl's own is a form's.
    const made = json(await curl(`${base}/prpc/Onboard.Bootstrap?json`, "-d", '{"domain": "127.0.0.1"}'));
    for (const name of ["ca_pubkey", "k256_pubkey", "attestation", "quote", "eventlog"])
      assert.match(made[name] ?? "", /^[0-9a-f]+$/, name);
    assert.deepEqual(JSON.parse(await readFile(join(harness.folder, "first/certs/bootstrap-info.json"), "utf8")), made);
    assert.equal(await curl(`${base}/finish`), "OK");
    await said(first, /"listening"/);
    const meta = json(await curl("-k", `https://127.0.0.1:${first.port}/prpc/KMS.GetMeta?json`));
    assert.equal(meta["k256_pubkey"], made["k256_pubkey"]);

    const second = await startInVm("second", 1);
    const onboarded = json(
      await curl(
        "-X",
        "POST",
        `http://127.0.0.1:${second.port}/prpc/Onboard.Onboard?json`,
        "-H",
        "Content-Type: application/json",
        "-d",
        `{"source_url": "https://127.0.0.1:${first.port}/prpc", "domain": "127.0.0.1"}`,
      ),
    );
    assert.equal(onboarded["k256_pubkey"], made["k256_pubkey"], JSON.stringify(onboarded));
    assert.equal(
      await curl(
        "-X",
        "POST",
        `http://127.0.0.1:${second.port}/prpc/Onboard.Finish?json`,
        "-H",
        "Content-Type: application/json",
        "--data",
        "{}",
      ),
      "null",
    );
    await said(second, /"listening"/);
    const app = "a1".repeat(20);
    const key = async (kms: Kms): Promise<string | undefined> =>
      json(await curl("-k", `https://127.0.0.1:${kms.port}/prpc/GetAppEnvEncryptPubKey?app_id=${app}`))["public_key"];
    assert.equal(await key(second), await key(first));
  },
);

test("stopped while it waits for an operator, a KMS ends cleanly and waits again", { timeout: 600_000 }, async () => {
  const waiting = await startInVm("stopped", 0);
  waiting.child.kill("SIGTERM");
  const [code] = (await once(waiting.child, "exit")) as [number | null];
  assert.equal(code, 0, waiting.text());
  const again = await startInVm("stopped", 0);
  assert.match(await curl(`http://127.0.0.1:${again.port}/finish`), /no keys yet/);
});

test(
  "the page does the same in a browser: two KMS, one set of keys",
  { skip: executablePath === undefined ? "no Chromium" : false, timeout: 600_000 },
  async () => {
    const [first, second] = [await startInVm("page-first", 0), await startInVm("page-second", 1)];
    const browser = await chromium.launch({
      executablePath: executablePath ?? "",
      args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
    });
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(60_000);
      const result = async (): Promise<Record<string, string>> =>
        JSON.parse(await page.locator("#result").innerText()) as Record<string, string>;
      await page.goto(`http://127.0.0.1:${first.port}/`);
      await page.locator("#evidence dd", { hasText: `0x${agents[0]?.mrAggregated}` }).waitFor();
      await page.locator("#bootstrap-form input[name=domain]").fill("127.0.0.1");
      await page.locator("#bootstrap-form button").click();
      await page.locator("#finish").waitFor();
      const made = await result();
      // Version 4, TDX: a quote's first bytes.
      assert.match(made["quote"] ?? "", /^0x04000200810000/);
      await page.locator("#finish").click();
      await page.locator("#finished").getByText("Set-up is finished").waitFor();
      await said(first, /"listening"/);

      await page.goto(`http://127.0.0.1:${second.port}/`);
      await page.locator("#onboard-form input[name=source]").fill(`https://127.0.0.1:${first.port}`);
      await page.locator("#onboard-form input[name=domain]").fill("127.0.0.1");
      await page.locator("#onboard-form button").click();
      await page.locator("#finish").waitFor();
      const taken = await result();
      assert.deepEqual([taken["caPubkey"], taken["k256Pubkey"]], [made["caPubkey"], made["k256Pubkey"]]);
      assert.match(taken["quote"] ?? "", /^0x04000200810000/);
      await page.locator("#finish").click();
      await page.locator("#finished").getByText("Set-up is finished").waitFor();
      await said(second, /"listening"/);
    } finally {
      await browser.close();
    }
  },
);

test(
  "the kms.toml of the host set-up starts without flags, on all addresses too, and says what is insecure",
  { timeout: 600_000 },
  async () => {
    for (const address of ["127.0.0.1", "0.0.0.0"]) {
      const cwd = join(harness.folder, `host-${address}`);
      await mkdir(cwd);
      await writeFile(join(cwd, "kms.toml"), HOST_SETUP_0_5_5(cwd, address, 0));
      const kms = start([], { port: 0, cwd });
      const port = (await said(kms, /"address":"[^"]+:(\d+)"[^\n]*"listening"/))[1];
      assert.match(kms.text(), /insecure settings are in force/);
      assert.doesNotMatch(kms.text(), /unknown configuration key/);
      assert.match(await curl("-k", `https://127.0.0.1:${port}/prpc/GetTempCaCert?json`), /BEGIN CERTIFICATE/);
      const insecure = [
        'core.auth_api.type = "dev"',
        "core.image.verify = false",
        "core.onboard.quote_enabled = false",
      ];
      const [status, metrics] = await Promise.all(
        ["/", "/metrics"].map((path) => curl("-k", `https://127.0.0.1:${port}${path}`)),
      );
      for (const setting of insecure) {
        assert.ok(
          (JSON.parse(status ?? "") as { insecure_settings: string[] }).insecure_settings.includes(setting),
          setting,
        );
        assert.ok(
          metrics?.includes(`dstack_kms_insecure_setting_info{setting="${setting.replaceAll('"', '\\"')}"} 1`),
          setting,
        );
      }
      // Root keys never leave such a KMS, whoever asks.
      assert.match(await curl("-k", `https://127.0.0.1:${port}/prpc/GetKmsKey?json`), /root keys are never handed out/);
      kms.child.kill("SIGTERM");
      await once(kms.child, "exit");
      await rm(cwd, { recursive: true });
    }
  },
);
