import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, request as httpRequest, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { reportDataFor, type Attestation } from "@dstack/attest";
import { generateP256, spkiDer } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { createCa, createTempClientCertificate } from "@dstack/ratls";
import type { HttpServer } from "@dstack/rpc";
import { startMockPccs } from "@dstack/tee-simulator";
import {
  APP_ID,
  makeEvidence,
  makeImage,
  newPki,
  wireForms,
  type MockImage,
} from "../../../libs/verify/test/mock-app.ts";
import { MAX_REQUEST_BYTES } from "../src/http-routes.ts";
import type { VerificationResponse } from "../src/verification-response.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const pki = newPki();
const now = (): number => Math.floor(Date.now() / 1000);
let folder = "";
let image: MockImage;
let pccs: HttpServer;
let images: Server;
let imageRequests = 0;
let config = "";
let service: Run;
let url = "";

interface Run {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly text: () => string;
}

function run(...parameters: readonly string[]): Run {
  let text = "";
  let out = "";
  const child = spawn(process.execPath, [MAIN, ...parameters], {
    env: { PATH: process.env["PATH"] },
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout!.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr!.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return { child, out: () => out, text: () => out + text };
}

async function finished(
  started: Run,
): Promise<{ readonly status: number | null; readonly out: string; readonly text: string }> {
  if (started.child.exitCode === null) await once(started.child, "close");
  return { status: started.child.exitCode, out: started.out(), text: started.text() };
}

async function writeConfig(name: string, change: Readonly<Record<string, string>> = {}): Promise<string> {
  const path = join(folder, `${name}.toml`);
  const values: Record<string, string> = {
    address: '"127.0.0.1"',
    port: "0",
    image_cache_dir: `"${folder}/cache-${name}"`,
    image_download_url: `"http://127.0.0.1:${(images.address() as AddressInfo).port}/mr_{OS_IMAGE_HASH}.tar.gz"`,
    "attestation.insecure_allow_external_trust_anchors": "true",
    "attestation.urls.pccs": `"http://${pccs.address}"`,
    "attestation.root_ca.tdx": `"${folder}/root.pem"`,
    ...change,
  };
  await writeFile(
    path,
    Object.entries(values)
      .map(([key, value]) => `${key} = ${value}\n`)
      .join(""),
  );
  return path;
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "verifier-main-"));
  image = await makeImage(folder);
  await writeFile(join(folder, "root.pem"), pki.rootPem);
  pccs = await startMockPccs({
    pki,
    host: "127.0.0.1",
    port: 0,
    log: createLogger({ name: "t", stream: { write: () => undefined } }),
    clock: Date,
  });
  images = createServer((incoming, response) => {
    imageRequests++;
    readFile(join(folder, "bundles", basename(incoming.url ?? ""))).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => images.listen(0, "127.0.0.1", resolve));
  config = await writeConfig("service");
  service = run("-c", config);
  for (const deadline = Date.now() + 60_000; url === ""; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const address = /"address":"([^"]+)"/.exec(service.text())?.[1];
    if (address !== undefined) url = `http://${address}`;
    assert.ok(service.child.exitCode === null && Date.now() < deadline, service.text());
  }
});

after(async () => {
  service.child.kill("SIGTERM");
  await finished(service);
  await pccs.close();
  images.close();
  await rm(folder, { recursive: true, force: true });
});

async function post(
  body: string | Uint8Array,
  headers: Record<string, string> = { "content-type": "application/json" },
): Promise<{ readonly status: number; readonly json: VerificationResponse & { error?: string } }> {
  const response = await fetch(`${url}/verify`, { method: "POST", body: body as string, headers });
  return { status: response.status, json: (await response.json()) as VerificationResponse };
}

const evidence = (): Record<string, string> => wireForms(makeEvidence(image, { pki })).quote;

test("answers health and requests, and downloads an image once for all who ask", async () => {
  assert.deepEqual(await (await fetch(`${url}/health`)).json(), { status: "ok", service: "dstack-verifier" });
  const answers = await Promise.all(Array.from({ length: 8 }, () => post(JSON.stringify(evidence()))));
  for (const { status, json } of answers) {
    assert.equal(status, 200);
    assert.equal(json.is_valid, true, json.reason ?? "");
    assert.equal(json.details.app_info?.app_id, APP_ID);
  }
  assert.equal(imageRequests, 1);
  const metrics = await fetch(`${url}/metrics`);
  assert.match(metrics.headers.get("content-type") ?? "", /^text\/plain/);
  assert.match(await metrics.text(), /^dstack_verifier_platforms_seen\{fmspc="000000000000",status="UpToDate"\} 1$/m);
});

test("a body that is no request is refused by status and text", async () => {
  const cases: [string | Uint8Array, number, RegExp][] = [
    ["", 400, /expected JSON/],
    ["{", 400, /expected JSON/],
    [Uint8Array.of(0x22, 0xff, 0x22), 400, /expected JSON/],
    ["[]", 422, /expected a JSON object/],
    ["null", 422, /expected a JSON object/],
    ['{"quote":5}', 422, /quote is not a string/],
    ['{"quote":"00","event_log":[]}', 422, /event_log is not a string/],
    ['{"debug":"yes"}', 422, /debug is not a boolean/],
    ['{"debug":null}', 422, /debug is not a boolean/],
  ];
  for (const [body, status, text] of cases) {
    const answer = await post(body);
    assert.equal(answer.status, status, String(body));
    assert.match(answer.json.error ?? "", text);
  }
  const empty = await post("{}");
  assert.deepEqual([empty.status, empty.json.is_valid], [200, false]);
  const nested = await post("[".repeat(100_000));
  assert.equal(nested.status, 400);
  assert.equal((await fetch(`${url}/verify`)).status, 404);
});

test("a body above the limit is cut off, told or not", async () => {
  // Without a length the body comes in chunks. Nothing is sent beyond the byte too many, so that no reset can overtake the answer.
  for (const headers of [{ "content-length": String(2 * MAX_REQUEST_BYTES) }, {}]) {
    const status = await new Promise<number>((resolve, reject) => {
      const outgoing = httpRequest(`${url}/verify`, { method: "POST", headers }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      outgoing.on("error", reject);
      outgoing.write(Buffer.alloc(MAX_REQUEST_BYTES + 1, 0x20));
    });
    assert.equal(status, 413);
  }
  assert.equal((await fetch(`${url}/health`)).status, 200);
});

test("clients that send slowly or vanish hold nobody up", async () => {
  const { port } = new URL(url);
  const sockets: Socket[] = [];
  for (let i = 0; i < 40; i++) {
    const socket = connect(Number(port), "127.0.0.1");
    socket.on("error", () => undefined);
    await once(socket, "connect");
    socket.write(
      'POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"quote":',
    );
    sockets.push(socket);
  }
  for (const socket of sockets.slice(0, 20)) socket.destroy();
  assert.equal((await post(JSON.stringify(evidence()))).json.is_valid, true);
  for (const socket of sockets) socket.destroy();
  assert.equal((await post(JSON.stringify(evidence()))).json.is_valid, true);
});

test("never fetches what a request names (its pccs_url)", async () => {
  let hits = 0;
  const trap = createServer((_request, response) => {
    hits++;
    response.end();
  });
  await new Promise<void>((resolve) => trap.listen(0, "127.0.0.1", resolve));
  const { json } = await post(
    JSON.stringify({ ...evidence(), pccs_url: `http://127.0.0.1:${(trap.address() as AddressInfo).port}` }),
  );
  trap.close();
  assert.equal(json.is_valid, true);
  assert.equal(hits, 0);
});

test("an image that nobody serves is named, and asked for again next time", async () => {
  const other = JSON.stringify({ ...(JSON.parse(evidence()["vm_config"]!) as object), os_image_hash: "ee".repeat(32) });
  const { json } = await post(JSON.stringify({ ...evidence(), vm_config: other }));
  assert.equal(json.is_valid, false);
  assert.match(json.reason ?? "", /^OS image hash verification failed: .*not at hand.*HTTP status 404/);
});

test("once: the request in a file, its answer beside it, and the exit code", async () => {
  const file = join(folder, "request.json");
  await writeFile(file, JSON.stringify(evidence()));
  const good = await finished(run("-c", config, "--verify", file));
  assert.equal(good.status, 0, good.text);
  assert.equal((JSON.parse(good.out) as VerificationResponse).is_valid, true);
  assert.deepEqual(JSON.parse(await readFile(`${file}.verification.json`, "utf8")), JSON.parse(good.out));
  const offline = await writeConfig("offline", { "attestation.urls.pccs": '"http://127.0.0.1:1"' });
  const bad = await finished(run("-c", offline, "--verify", file));
  assert.equal(bad.status, 1);
  assert.match((JSON.parse(bad.out) as VerificationResponse).reason ?? "", /^Quote verification failed: collateral/);
});

test("once: a certificate whose evidence is bound to its key, and one whose is not", async () => {
  const tempCa = createCa({
    organization: "Dstack",
    commonName: "Temp CA",
    key: generateP256(),
    pathLength: 0,
    now: now(),
  });
  const certificate = (attestation: Attestation, key = generateP256()) =>
    createTempClientCertificate({ tempCa, key, attestation, now: now() });
  const key = generateP256();
  const { attestation } = makeEvidence(image, { pki, reportData: reportDataFor("ratls-cert", spkiDer(key)) });
  const bound = certificate(attestation, key);
  const [pem, der, foreign] = ["bound.pem", "bound.der", "foreign.pem"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(pem, bound.pem);
  await writeFile(der, new X509Certificate(bound.pem).raw);
  await writeFile(foreign, certificate(attestation).pem);
  for (const [file, status, reason] of [
    [pem, 0, /^null$/],
    [der, 0, /^null$/],
    [foreign, 1, /^Quote verification failed: report-data/],
    [config, 1, /^Quote verification failed: /],
  ] as const) {
    const result = await finished(run("-c", config, "--verify-cert", file));
    assert.equal(result.status, status, result.text);
    assert.match(String((JSON.parse(result.out) as VerificationResponse).reason), reason);
    assert.equal(
      (JSON.parse(await readFile(`${file}.ratls-verification.json`, "utf8")) as VerificationResponse).is_valid,
      status === 0,
    );
  }
});

test("wrong usage, files and configurations end with a reason and their exit code", async () => {
  const noSwitch = await writeConfig("no-switch", { "attestation.insecure_allow_external_trust_anchors": "false" });
  for (const [parameters, status, text] of [
    [["--nonsense"], 2, /--help/],
    [["--verify", "a", "--verify-cert", "b"], 2, /exclude each other/],
    [["--chain", "a"], 2, /--chain goes with --verify-cert/],
    [["-c", config, "--verify", join(folder, "absent.json")], 1, /cannot be read/],
    [["-c", config, "--verify", config], 1, /not JSON/],
    [["-c", noSwitch], 1, /insecure_allow_external_trust_anchors is false/],
    [["--help"], 0, /POST \/verify/],
  ] as const) {
    const result = await finished(run(...parameters));
    assert.equal(result.status, status, result.text);
    assert.match(result.text, text);
  }
});
