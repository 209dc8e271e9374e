import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { toHex } from "@dstack/bytes";
import { generateP256, secp256k1PublicKey } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { openKeyStore } from "../src/keys/key-store.ts";
import type { RootKeys } from "../src/keys/install-root-keys.ts";
import { setUp } from "../src/setup/set-up.ts";
import { fakeAttest, setupService } from "./setup-service.ts";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);
const skip = executablePath === undefined ? "no Chromium" : false;
/** Set to a folder to keep pictures of the page. */
const pictures = process.env["DSTACK_CONSOLE_PICTURES"];
const roots: RootKeys = { rootCa: generateP256(), tempCa: generateP256(), rootK256: new Uint8Array(32).fill(7) };
let base: string;
let context: BrowserContext | undefined;
const stops: (() => void)[] = [];

before(async () => {
  base = await mkdtemp(join(tmpdir(), "kms-page-"));
  if (executablePath === undefined) return;
  context = await chromium.launchPersistentContext(join(base, "profile"), {
    executablePath,
    headless: true,
    viewport: { width: 1100, height: 900 },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
});
after(async () => {
  for (const stop of stops) stop();
  await context?.close();
  await rm(base, { recursive: true, force: true });
});

/** A set-up in this process, its page opened, and what the page or the browser complained of. */
async function open(change: { readonly source?: RootKeys; readonly requireToken?: boolean } = {}) {
  const folder = await mkdtemp(join(base, "keys-"));
  const printed: string[] = [];
  let address: (value: string) => void = () => undefined;
  const bound = new Promise<string>((resolve) => (address = resolve));
  const stop = new AbortController();
  stops.push(() => stop.abort());
  const done = setUp({
    config: {
      keyFolder: folder,
      onboardEnabled: true,
      ownNames: ["kms.example.com"],
      autoBootstrapDomain: "",
      setUp: { listen: { host: "127.0.0.1", port: 0 }, requireToken: change.requireToken ?? false, siteName: "" },
    },
    now: 1_764_000_000,
    log: createLogger({
      name: "test",
      stream: { write: (line: string) => address(/"address":"([^"]+)"/.exec(line)?.[1] ?? "") },
    }),
    attest: fakeAttest,
    authorizeBootstrap: () => Promise.resolve(),
    service: (finish) => setupService({ folder, source: change.source, finish }),
    print: (line) => printed.push(line),
    signal: stop.signal,
  }).then(() => "set up", String);
  const url = `http://${await bound}`;
  const page = await context!.newPage();
  page.setDefaultTimeout(60_000);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 40[01]/.test(message.text())) complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) complaints.push(`asked elsewhere: ${request.url()}`);
  });
  return { folder, url, page, complaints, printed, done, stop: () => stop.abort() };
}

async function picture(page: Page, name: string): Promise<void> {
  if (pictures !== undefined) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

const shown = async (page: Page): Promise<Record<string, string>> =>
  JSON.parse(await page.locator("#result").innerText()) as Record<string, string>;

test(
  "the page bootstraps, shows public keys and quote, still knows them when it is opened again, and finishes",
  { skip, timeout: 600_000 },
  async () => {
    const kms = await open();
    await kms.page.goto(kms.url);
    await kms.page.locator("#evidence dd", { hasText: "0xa6" }).waitFor();
    assert.deepEqual(await kms.page.locator("#evidence dd").allInnerTexts(), [
      "dstack-tdx",
      "99",
      "0xd1",
      "0xa6",
      "0x05",
    ]);
    await picture(kms.page, "setup");
    await kms.page.locator("#bootstrap-form input[name=domain]").fill("kms_bad");
    await kms.page.locator("#bootstrap-form button").click();
    await kms.page.locator("#failure", { hasText: "domain contains an invalid DNS label" }).waitFor();
    await kms.page.locator("#bootstrap-form input[name=domain]").fill(" kms.example.com ");
    await kms.page.locator("#bootstrap-form button").click();
    await kms.page.locator("#finish").waitFor();
    const values = await shown(kms.page);
    assert.deepEqual(Object.keys(values), ["caPubkey", "k256Pubkey", "quote", "eventlog", "attestation"]);
    const info = JSON.parse(await readFile(join(kms.folder, "bootstrap-info.json"), "utf8")) as Record<string, string>;
    assert.deepEqual(
      [values["caPubkey"], values["k256Pubkey"], values["quote"]],
      [`0x${info["ca_pubkey"]}`, `0x${info["k256_pubkey"]}`, "0xcafe"],
    );
    assert.equal(values["attestation"], `0x${info["attestation"]}`);
    await picture(kms.page, "setup-done");
    await kms.page.reload();
    await kms.page.locator("#finish").waitFor();
    assert.deepEqual(await shown(kms.page), values);
    assert.equal(await kms.page.locator("#choices").isVisible(), false, "no second bootstrap");
    await kms.page.locator("#finish").click();
    await kms.page.locator("#finished", { hasText: "Set-up is finished" }).waitFor();
    assert.deepEqual([await kms.done, kms.complaints], ["set up", []]);
    await kms.page.close();
  },
);

test(
  "the page onboards from another KMS, behind the token of the start, and finishes",
  { skip, timeout: 600_000 },
  async () => {
    const kms = await open({ source: roots, requireToken: true });
    await kms.page.goto(kms.url);
    await kms.page.locator("#token-form input").fill("wrong");
    await kms.page.locator("#token-form button").click();
    await kms.page.locator("#failure", { hasText: "set-up token is missing or wrong" }).waitFor();
    const token = /#token=([0-9a-f]+)/.exec(kms.printed[0] ?? "")?.[1] ?? "";
    await kms.page.locator("#token-form input").fill(token);
    await kms.page.locator("#token-form button").click();
    await kms.page.locator("#onboard-form input[name=source]").fill("https://kms.example.com:9201/");
    await kms.page.locator("#onboard-form input[name=domain]").fill("replica.example.com");
    await kms.page.locator("#onboard-form button").click();
    await kms.page.locator("#finish").waitFor();
    assert.equal((await shown(kms.page))["k256Pubkey"], `0x${toHex(secp256k1PublicKey(roots.rootK256))}`);
    await kms.page.locator("#finish").click();
    await kms.page.locator("#finished").getByText("Set-up is finished").waitFor();
    assert.deepEqual([await kms.done, kms.complaints], ["set up", []]);
    const keys = await openKeyStore({ folder: kms.folder, domain: "", now: 1_764_000_000 });
    assert.deepEqual(
      [keys.rootCa.key, keys.rootK256, keys.domain],
      [roots.rootCa, roots.rootK256, "replica.example.com"],
    );
    await kms.page.close();
  },
);

test(
  "the printed link opens the page without asking, and a refusal is shown as text",
  { skip, timeout: 600_000 },
  async () => {
    const kms = await open({ requireToken: true });
    await kms.page.goto(/http:\S+/.exec(kms.printed[0] ?? "")?.[0] ?? "");
    await kms.page.locator("#onboard-form input[name=source]").fill("https://kms.example.com:9201");
    assert.ok(!kms.page.url().includes("token"), "the token leaves the address bar");
    await kms.page.locator("#onboard-form input[name=domain]").fill("replica.example.com");
    await kms.page.locator("#onboard-form button").click();
    await kms.page
      .locator("#failure", { hasText: "https://kms.example.com:9201/prpc: Boot denied: <b>not allowed</b>" })
      .waitFor();
    assert.equal(await kms.page.locator("#failure b").count(), 0);
    kms.stop();
    assert.match(await kms.done, /stopped during the set-up/);
    assert.deepEqual(kms.complaints, []);
    await kms.page.close();
  },
);
