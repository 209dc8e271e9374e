import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { toHex } from "@dstack/bytes";
import { createCli } from "../src/clients/cli.ts";
import { collateralFetch } from "../src/collateral/fetch.ts";
import { collateralPin } from "../src/collateral/pin.ts";
import { collateralShow } from "../src/collateral/show.ts";
import { forge, goodScene } from "../../tests/forge/forged-evidence.ts";
import type { Forged } from "../../tests/forge/forged-evidence.ts";

const root = mkdtempSync(join(tmpdir(), "dstack-collateral-cli-"));
const forged = forge(goodScene(Math.floor(Date.now() / 1000)));
const main = join(import.meta.dirname, "../src/main.ts");
const file = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(root, name), content);
  return join(root, name);
};
const quote = file("quote.bin", forged.quote);
const hexQuote = file("quote.hex", `0x${toHex(forged.quote)}\n`);
const rootPem = file("root.pem", forged.rootPem);
const collateral = file("collateral.json", JSON.stringify(forged.collateral));
const server = createServer((request, response) => answer(forged, request.url ?? "", response));
let pccs = "";

before(async () => {
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  pccs = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.close();
  rmSync(root, { recursive: true });
});

interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function dstack(...args: readonly string[]): Promise<Run> {
  const env = { ...process.env, XDG_STATE_HOME: join(root, "state"), XDG_CACHE_HOME: join(root, "cache") };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, "collateral", ...args], { env, timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    );
  });
}

test("fetches the collateral of a quote in the exchange form, to standard output or a file", async () => {
  const printed = await dstack("fetch", quote, "--pccs", "http://127.0.0.1:1", "--pccs", pccs, "--root", rootPem);
  assert.equal(printed.code, 0, printed.stderr);
  assert.deepEqual(JSON.parse(printed.stdout), forged.collateral);
  const out = join(root, "fetched.json");
  const written = await dstack("fetch", hexQuote, "--pccs", pccs, "--root", rootPem, "--out", out);
  assert.deepEqual([written.code, written.stdout], [0, ""]);
  assert.deepEqual(JSON.parse(readFileSync(out, "utf8")), forged.collateral);
});

test("gives no collateral that does not chain to the root", async () => {
  const run = await dstack("fetch", quote, "--pccs", pccs);
  assert.deepEqual([run.code, run.stdout], [1, ""]);
  assert.match(run.stderr, /root-crl: revocation list of "Forged SGX Root CA", expected one of "Intel SGX Root CA"/);
});

test("shows documents, levels and checks, for people and for scripts", async () => {
  const text = await dstack("show", collateral, "--root", rootPem);
  assert.equal(text.code, 0, text.stderr);
  for (const part of [
    /TDX collateral of FMSPC 90c06f000000/,
    /TCB info +\d{4}-/,
    /UpToDate +2029-08-14/,
    /TDX_01 +4 +UpToDate/,
    /FORGED-SA-00001/,
    /pass {2}tcb-info: /,
  ])
    assert.match(text.stdout, part);
  const json = await dstack("show", collateral, "--root", rootPem, "-o", "json");
  const value = JSON.parse(json.stdout) as {
    ok: boolean;
    fmspc: string;
    tcb_levels: unknown[];
    checks: { name: string; result: string }[];
  };
  assert.deepEqual([value.ok, value.fmspc, value.tcb_levels.length, value.checks.length], [true, "90c06f000000", 2, 7]);
});

test("ends with code 1 where something in it ends sooner than asked for, and says what", async () => {
  const show = (...more: readonly string[]) => dstack("show", collateral, "--root", rootPem, ...more);
  const enough = await show("--min-days", "28");
  assert.deepEqual([enough.code, enough.stderr], [0, ""]);
  const short = await show("--min-days", "29.5", "-o", "json");
  assert.equal(short.code, 1);
  assert.match(short.stderr, /ends in 28\.9 days, at .*Z; 29\.5 are asked for/);
  const { days_left, documents } = JSON.parse(short.stdout) as {
    days_left: number;
    documents: { name: string; days_left: number }[];
  };
  assert.deepEqual([days_left, ...documents.map((document) => document.days_left)], [28.9, 28.9, 28.9, 28.9, 28.9]);
  assert.equal((await show("--min-days", "1", "--time", "2099-01-01T00:00:00Z")).code, 3, "what has ended has failed");
  assert.equal((await show("--min-days", "soon")).code, 2);
});

test("ends with code 3 where a check fails, and names it", async () => {
  const late = await dstack("show", collateral, "--root", rootPem, "--time", "2099-01-01T00:00:00Z", "-o", "json");
  assert.equal(late.code, 3);
  const { checks } = JSON.parse(late.stdout) as { checks: { name: string; result: string; code?: string }[] };
  assert.deepEqual(checks.find(({ name }) => name === "collateral-fresh")?.code, "collateral-expired");
});

test("pins collateral that holds, where verification finds it", async () => {
  const refused = await dstack("pin", collateral);
  assert.deepEqual([refused.code, refused.stdout], [3, ""]);
  assert.match(refused.stderr, /does not hold: root-crl/);
  const pinned = await dstack("pin", collateral, "--root", rootPem);
  assert.equal(
    pinned.stdout.trim(),
    join(root, "state/dstack/collateral-pins/tdx-platform-90c06f000000.json"),
    pinned.stderr,
  );
  assert.deepEqual(JSON.parse(readFileSync(pinned.stdout.trim(), "utf8")), forged.collateral);
  rmSync(pinned.stdout.trim());
  await collateralPin(createCli({ XDG_STATE_HOME: join(root, "state") }), collateral, { root: rootPem, quote });
  assert.ok(existsSync(pinned.stdout.trim()), "and by a quote of the platform");
});

test("says what is wrong with its arguments", async () => {
  const cli = createCli({ XDG_STATE_HOME: join(root, "state") });
  const rows: readonly (readonly [() => Promise<unknown>, string, RegExp])[] = [
    [() => collateralShow(cli, join(root, "none.json"), { output: "text" }), "not-found", /none\.json cannot be read/],
    [() => collateralShow(cli, rootPem, { output: "text" }), "failed", /not valid JSON/],
    [
      () => collateralShow(cli, file("empty.json", "{}"), { output: "text" }),
      "collateral-malformed",
      /pck_crl_issuer_chain is not text/,
    ],
    [() => collateralShow(cli, collateral, { output: "text", time: "yesterday" }), "usage", /expected RFC 3339/],
    [() => collateralFetch(cli, collateral, { pccs: [pccs] }), "quote-malformed", /hex text/],
    [() => collateralFetch(cli, quote, { pccs: ["ftp://x"] }), "collateral-unavailable", /http or https URL/],
    [() => collateralPin(cli, collateral, { root: collateral }), "trust-anchor-invalid", /not canonical base64/],
  ];
  for (const [run, code, says] of rows)
    await assert.rejects(
      run(),
      (error: unknown) =>
        error instanceof Error && (error as Error & { code?: string }).code === code && says.test(error.message),
      code,
    );
});

function answer({ collateral: documents }: Forged, url: string, response: import("node:http").ServerResponse): void {
  const send = (body: string | Uint8Array, header: string, chain: string): void =>
    void response.writeHead(200, { [header]: encodeURIComponent(documents[chain] ?? "") }).end(body);
  if (url.includes("/pckcrl?")) send(documents["pck_crl"] ?? "", "SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain");
  else if (url.includes("/rootcacrl")) send(documents["root_ca_crl"] ?? "", "x-none", "");
  else if (url.includes("/tcb?"))
    send(
      `{"tcbInfo":${documents["tcb_info"]},"signature":"${documents["tcb_info_signature"]}"}`,
      "TCB-Info-Issuer-Chain",
      "tcb_info_issuer_chain",
    );
  else
    send(
      `{"enclaveIdentity":${documents["qe_identity"]},"signature":"${documents["qe_identity_signature"]}"}`,
      "SGX-Enclave-Identity-Issuer-Chain",
      "qe_identity_issuer_chain",
    );
}
