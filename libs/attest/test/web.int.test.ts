import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { toHex } from "@dstack/bytes";
import { collateralFromJson, trustAnchorFromPem } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import { forge, goodScene, goodSgxScene } from "../../../tests/forge/forged-evidence.ts";
import type { Forged, Scene } from "../../../tests/forge/forged-evidence.ts";
import { recordedVectors } from "../../../tests/vectors/vector-sets.ts";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);
const skip = executablePath === undefined ? "no Chromium" : false;
const here = dirname(fileURLToPath(import.meta.url));

interface Case {
  readonly quote: string;
  readonly collateral: unknown;
  readonly rootPem: string;
  readonly now: number;
}

/** What both edges are compared by: everything but the quote's own bytes. */
type Verdict = readonly unknown[];

// In the page: verifies with raw and then twice with checked collateral, by the library's public entries alone.
const PAGE = `
  import { collateralFromJson, trustAnchorFromPem } from "@dstack/attest";
  import { checkCollateral, verifyQuote } from "@dstack/attest/web";
  const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => Number.parseInt(pair, 16));
  const summary = (result) => [result.ok, result.ok ? [result.status, result.advisoryIds, result.relaunchAdvised] : result.reason, result.checks];
  globalThis.judge = async ({ quote, collateral, rootPem, now }) => {
    const options = { now, trustAnchor: trustAnchorFromPem(rootPem) };
    const raw = collateralFromJson(collateral);
    const verdicts = [await verifyQuote(bytes(quote), raw, options)];
    const checked = await checkCollateral(raw, options.trustAnchor).catch(() => raw);
    for (let round = 0; round < 2; round++) verdicts.push(await verifyQuote(bytes(quote), checked, options));
    return verdicts.map(summary);
  };
`;

let context: BrowserContext | undefined;
let page: Page | undefined;
let inputs: string[] = [];
const profile = mkdtempSync(join(tmpdir(), "dstack-attest-web-"));
const server = createServer((request, response) => {
  response.setHeader("content-type", request.url === "/attest.js" ? "text/javascript" : "text/html");
  response.end(
    request.url === "/attest.js" ? script : '<!doctype html><script type="module" src="/attest.js"></script>',
  );
});
let script = "";

before(async () => {
  // For a browser: esbuild refuses what imports a builtin of Node.
  const bundle = await build({
    stdin: { contents: PAGE, resolveDir: here, loader: "js" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2024",
    metafile: true,
    logLevel: "silent",
  });
  inputs = Object.keys(bundle.metafile.inputs);
  script = bundle.outputFiles[0]?.text ?? "";
  if (executablePath === undefined) return;
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
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
  page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(60_000);
  // WebCrypto needs a secure context, which loopback is.
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction("globalThis.judge !== undefined");
});

after(async () => {
  await context?.close();
  server.close();
  rmSync(profile, { recursive: true, force: true });
});

const inBrowser = (evidence: Case): Promise<Verdict[]> =>
  page!.evaluate(
    (argument) => (globalThis as unknown as { judge(evidence: unknown): Promise<unknown[][]> }).judge(argument),
    evidence as unknown as Record<string, unknown>,
  );

function inNode({ quote, collateral, rootPem, now }: Case): Verdict {
  const result = verifyQuote(Uint8Array.from(Buffer.from(quote, "hex")), collateralFromJson(collateral), {
    now,
    trustAnchor: trustAnchorFromPem(rootPem),
  });
  return JSON.parse(
    JSON.stringify([
      result.ok,
      result.ok ? [result.status, result.advisoryIds, result.relaunchAdvised] : result.reason,
      result.checks,
    ]),
  ) as unknown[];
}

const caseOf = ({ quote, collateral, rootPem, now }: Forged): Case => ({
  quote: toHex(quote),
  collateral,
  rootPem,
  now,
});

async function agrees(evidence: Case, what: string): Promise<boolean> {
  const expected = inNode(evidence);
  for (const verdict of await inBrowser(evidence)) assert.deepEqual(verdict, expected, what);
  return expected[0] as boolean;
}

test("bundles for browsers without any builtin of Node, and without the edge for Node", () => {
  assert.ok(inputs.some((path) => path.endsWith("libs/attest/src/web/verify-quote.ts")));
  assert.deepEqual(
    inputs.filter((path) => path.startsWith("node:") || path.includes("attest/src/node/")),
    [],
  );
  assert.doesNotMatch(script, /\bfrom\s*["']node:|require\(["']/);
});

test("verifies forged and good quotes in Chromium as in Node", { skip, timeout: 120_000 }, async () => {
  const edits: readonly (readonly [string, (scene: Scene) => void])[] = [
    [
      "TCB info by the wrong key",
      (scene) => {
        scene.signers.tcbInfo = "stranger";
      },
    ],
    [
      "a quote by the wrong key",
      (scene) => {
        scene.signers.quote = "stranger";
      },
    ],
    [
      "a QE report by the wrong key",
      (scene) => {
        scene.signers.qeReport = "stranger";
      },
    ],
    [
      "a PCK certificate by the wrong key",
      (scene) => {
        scene.certificates.pck.signer = "stranger";
      },
    ],
    [
      "a revoked PCK certificate",
      (scene) => {
        scene.pckCrl.revoked = [102];
      },
    ],
    [
      "an expired list",
      (scene) => {
        scene.rootCrl.nextUpdate = scene.now - 1;
      },
    ],
    [
      "a debug TD",
      (scene) => {
        scene.body[120] = 1;
      },
    ],
  ];
  assert.equal(await agrees(caseOf(forge(goodScene())), "good TDX"), true);
  assert.equal(await agrees(caseOf(forge(goodSgxScene())), "good SGX"), true);
  for (const [what, edit] of edits) {
    const scene = goodScene();
    edit(scene);
    assert.equal(await agrees(caseOf(forge(scene)), what), false, what);
  }
  const cut = caseOf(forge(goodScene()));
  assert.equal(await agrees({ ...cut, quote: cut.quote.slice(0, 1000) }, "a cut quote"), false);
  assert.equal(
    await agrees({ ...cut, collateral: { ...(cut.collateral as object), pck_crl: "30" } }, "a cut list"),
    false,
  );
});

if (recordedVectors !== undefined) {
  const { bytes, json, text } = recordedVectors;
  test("verifies the recorded quotes of real hardware in Chromium as in Node", { skip, timeout: 120_000 }, async () => {
    const rootPem = text("attestation/intel-sgx-root-ca.pem");
    let accepted = 0;
    for (const pair of json<{ id: string; quote: string; collateral: string; verify_at_unix: number }[]>(
      "attestation/pairs.json",
    )) {
      const evidence = {
        quote: toHex(bytes(`attestation/${pair.quote}`)),
        collateral: json(`attestation/${pair.collateral}`),
        rootPem,
        now: pair.verify_at_unix,
      };
      if (await agrees(evidence, pair.id)) accepted++;
    }
    assert.ok(accepted >= 8);
  });
}
