import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { connect as connectH2 } from "node:http2";
import { get as getHttps, type RequestOptions } from "node:https";
import { connect as tcp, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "@dstack/bytes";
import { run } from "@dstack/process";
import { ADMIN_TOKEN, DOMAIN, makeLab, type Cvm, type GatewayProcess, type Lab } from "./support/lab.ts";
import { interfaceExists, whyNoNetwork } from "./support/network.ts";
import { randomId } from "./support/pki.ts";

const skip = await whyNoNetwork();
const app = randomId();
const instance = randomId();
const appHex = toHex(app);
let lab: Lab;
let gateway: GatewayProcess;
let cvm: Cvm;

const OPEN_PORTS = [80, 443, 8080, 8081, 8082, 8083, 9999];

if (skip === undefined) {
  before(async () => {
    lab = await makeLab("a");
    gateway = await lab.startGateway();
    cvm = await lab.startCvm(lab.kms.client({ appId: app, instanceId: instance }), OPEN_PORTS);
  });
  after(() => lab.close());
} else {
  test("the gateway with real tunnels", { skip: `needs network namespaces and WireGuard: ${skip}` }, () => undefined);
}

const it = (name: string, body: () => Promise<void>): void =>
  void test(name, { skip: skip !== undefined, timeout: 60_000 }, body);

interface Answer {
  readonly status: number;
  readonly body: string;
}

function fetchThrough(label: string, path = "/"): Promise<Answer> {
  const servername = `${label}.${DOMAIN}`;
  return new Promise((resolve, reject) => {
    getHttps(
      {
        host: "127.0.0.1",
        port: lab.proxyPort,
        servername,
        path,
        ca: lab.wildcardCa(),
        agent: false,
        headers: { host: servername },
        timeout: 10_000,
      } as RequestOptions,
      (response) => {
        text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
      },
    ).on("error", reject);
  });
}

async function tlsThrough(servername: string, options: { ca: string; alpn?: string[] }): Promise<TLSSocket> {
  const socket = connect({
    host: "127.0.0.1",
    port: lab.proxyPort,
    servername,
    ca: options.ca,
    allowHalfOpen: true,
    ...(options.alpn === undefined ? {} : { ALPNProtocols: options.alpn }),
    checkServerIdentity: () => undefined,
  } as ConnectionOptions);
  await once(socket, "secureConnect");
  return socket;
}

async function textOf(socket: TLSSocket): Promise<string> {
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}

async function admin(path: string, token: string | undefined = ADMIN_TOKEN): Promise<{ status: number; text: string }> {
  const response = await fetch(
    `http://127.0.0.1:${lab.adminPort}${path}`,
    token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } },
  );
  return { status: response.status, text: await response.text() };
}

it("a CVM that registered is told its address and where it will be reached", async () => {
  assert.match(cvm.address, /^10\.213\.\d+\.2$/);
  assert.deepEqual([cvm.domain, cvm.externalPort, cvm.agentPort], [DOMAIN, lab.proxyPort, 8090]);
  const line = gateway.lines.find((text) => text.includes("RegisterCvm") && text.includes(appHex)) ?? "";
  assert.ok(line.includes(toHex(instance)) && line.includes(cvm.address) && line.includes('"info"'), line);
});

it("HTTP reaches the app by app id and by instance id, TLS ending at the gateway", async () => {
  assert.deepEqual(await fetchThrough(appHex, "/x"), { status: 200, body: `http ${appHex}.${DOMAIN} /x` });
  assert.equal((await fetchThrough(toHex(instance))).status, 200);
  assert.equal((await fetchThrough(appHex.toUpperCase())).status, 200);
});

it("passthrough connections carry the app's own TLS", async () => {
  const socket = await tlsThrough(`${appHex}-s.${DOMAIN}`, { ca: cvm.server.caPem });
  assert.equal(await textOf(socket), "from inside");
});

it("a half-closed connection still gets its answer, every byte of it in order", async () => {
  const data = randomBytes(8 * 1024 * 1024);
  const socket = await tlsThrough(`${appHex}-8080.${DOMAIN}`, { ca: lab.wildcardCa() });
  socket.end(data);
  assert.equal(await textOf(socket), createHash("sha256").update(data).digest("hex"));
});

it("a port whose policy asks for it gets a PROXY header with the client's address first", async () => {
  const socket = await tlsThrough(`${appHex}-8081.${DOMAIN}`, { ca: lab.wildcardCa() });
  const { localPort } = socket;
  socket.end("hello");
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const all = Buffer.concat(chunks);
  assert.equal(all.subarray(0, 12).toString("hex"), "0d0a0d0a000d0a515549540a");
  assert.equal(all.readUInt16BE(24), localPort);
  assert.equal(all.subarray(28).toString(), "hello");
});

it("the g suffix speaks HTTP/2 to the client and to the app, and refuses clients that offer only HTTP/1.1", async () => {
  const session = connectH2(`https://127.0.0.1:${lab.proxyPort}`, {
    ca: lab.wildcardCa(),
    servername: `${appHex}-8082g.${DOMAIN}`,
  });
  const stream = session.request({ ":path": "/" });
  let body = "";
  for await (const chunk of stream) body += String(chunk);
  session.close();
  assert.equal(body, "h2");
  await assert.rejects(
    tlsThrough(`${appHex}-8082g.${DOMAIN}`, { ca: lab.wildcardCa(), alpn: ["http/1.1"] }),
    /no application protocol|no_application_protocol/i,
  );
});

it("names that nobody registered are explained to HTTP clients", async () => {
  const unknown = "ab".repeat(20);
  const answer = await fetchThrough(unknown);
  assert.equal(answer.status, 404);
  assert.ok(answer.body.includes(unknown) && answer.body.includes(`asked for ${unknown}.${DOMAIN}`), answer.body);
});

it("passthrough to nobody ends in an alert that says so", async () => {
  await assert.rejects(tlsThrough(`${"ab".repeat(20)}-s.${DOMAIN}`, { ca: lab.wildcardCa() }), /unrecognized.name/i);
  await assert.rejects(tlsThrough("somebody.else.example", { ca: lab.wildcardCa() }), /unrecognized.name/i);
  await assert.rejects(tlsThrough(`${appHex}-99999.${DOMAIN}`, { ca: lab.wildcardCa() }), /unrecognized.name/i);
});

it("ports that the policy does not list are denied, listed ones that do not answer are a bad gateway", async () => {
  const denied = await fetchThrough(`${appHex}-1234`);
  assert.equal(denied.status, 403);
  assert.match(denied.body, /port 1234 denied by app port policy/);
  const closed = await fetchThrough(`${appHex}-9999`);
  assert.equal(closed.status, 502);
  assert.match(closed.body, /ECONNREFUSED/);
});

it("the gateway answers under its own name", async () => {
  assert.deepEqual(await fetchThrough("gateway", "/health"), { status: 200, body: "" });
  assert.match((await fetchThrough("gateway", "/.dstack/index")).body, /dstack gateway/);
  assert.match((await fetchThrough("gateway", "/acme-info")).body, new RegExp(DOMAIN));
  assert.equal((await fetchThrough("gateway", "/secrets")).status, 404);
  assert.equal((await fetchThrough("gateway-8080")).status, 404);
});

it("a client that says nothing is dropped within its time, and one that speaks HTTP at once", async () => {
  const plain = tcp(lab.proxyPort, "127.0.0.1");
  plain.end("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  plain.on("error", () => undefined);
  const silent = tcp(lab.proxyPort, "127.0.0.1");
  const started = Date.now();
  silent.resume();
  silent.on("error", () => undefined);
  await Promise.all([once(plain, "close"), once(silent, "close")]);
  assert.ok(Date.now() - started < 8_000);
});

it("a CVM without a reported policy is asked for it", async () => {
  const otherApp = randomId();
  const other = await lab.startCvm(lab.kms.client({ appId: otherApp, instanceId: randomId() }));
  assert.match(other.address, /\.3$/);
  assert.equal((await fetchThrough(toHex(otherApp))).status, 200);
  const denied = await fetchThrough(`${toHex(otherApp)}-8080`);
  assert.equal(denied.status, 403);
  assert.match(denied.body, /denied by app port policy/);
  await other.stop();
});

it("the admin API needs its token on everything but health", async () => {
  for (const path of [
    "/prpc/Status",
    "/prpc/Admin.GetMeta",
    "/GetMeta",
    "/metrics",
    "/",
    "/prpc/GetInfo?id=x",
    "/prpc/NoSuchMethod",
  ])
    assert.equal((await admin(path, "wrong")).status, 401, path);
  assert.equal((await admin("/health", undefined)).status, 200);
  const status = JSON.parse((await admin("/prpc/Status")).text) as {
    id: number;
    hosts: { instance_id: string; latest_handshake: number; ip: string }[];
    nodes: { wg_public_key: string }[];
  };
  const host = status.hosts.find((row) => row.instance_id === toHex(instance));
  assert.equal(status.id, 7);
  assert.equal(host?.ip, cvm.address);
  assert.ok((host?.latest_handshake ?? 0) > Date.now() / 1_000 - 300);
  assert.equal((JSON.parse((await admin("/Admin.GetMeta")).text) as { registered: number }).registered >= 1, true);
  assert.equal(
    (JSON.parse((await admin(`/prpc/GetInfo?id=${"00".repeat(20)}`)).text) as { found: boolean }).found,
    false,
  );
  const metrics = (await admin("/metrics")).text;
  assert.match(metrics, /dstack_gateway_connections_total\{outcome="relayed"\} [1-9]/);
  assert.match(metrics, /dstack_gateway_environment_info\{environment="development",insecure="true"\} 1/);
});

it("a new proxy certificate is served after SIGHUP, a broken one is not", async () => {
  await lab.newWildcard();
  gateway.child.kill("SIGHUP");
  await eventually(async () => (await fetchThrough(appHex)).status === 200);
  await writeFile(join(lab.folder, "wildcard.pem"), "not a certificate");
  const before = gateway.lines.length;
  gateway.child.kill("SIGHUP");
  await eventually(async () => gateway.lines.slice(before).some((line) => line.includes("the one in service stays")));
  assert.equal((await fetchThrough(appHex)).status, 200);
  await lab.newWildcard();
});

it("after a clean stop nothing is left, and the next start serves the same CVM at the same address without a new registration", async () => {
  assert.equal(await gateway.stop("SIGTERM"), 0);
  assert.equal(await interfaceExists(lab.interface), false);
  gateway = await lab.startGateway();
  await eventually(async () => (await fetchThrough(appHex)).status === 200, 20_000);
  const conf = await readFile(join(lab.folder, "wg.conf"), "utf8");
  assert.ok(conf.includes(`AllowedIPs = ${cvm.address}/32`));
});

it("after a kill the next start cleans up and goes on", async () => {
  await gateway.stop("SIGKILL");
  assert.equal(await interfaceExists(lab.interface), true);
  gateway = await lab.startGateway();
  await eventually(async () => (await fetchThrough(appHex)).status === 200, 20_000);
});

it("a second gateway on the same data is refused and the first goes on", async () => {
  await assert.rejects(lab.startGateway(), /is held by process/);
  assert.equal((await fetchThrough(appHex)).status, 200);
});

it("when wireguard-go dies the tunnel comes back by itself", async () => {
  const found = await run("pgrep", ["-f", `^wireguard-go -f ${lab.interface}$`], { okCodes: [0, 1] });
  if (found.code === 1) return; // The kernel's own WireGuard is in use.
  process.kill(Number(found.stdout.trim()), "SIGKILL");
  await eventually(async () => gateway.lines.some((line) => line.includes("the WireGuard device is gone")));
  await eventually(async () => (await fetchThrough(appHex).catch(() => ({ status: 0 }))).status === 200, 20_000);
});

it("a start that fails half-way undoes what it did", async () => {
  await gateway.stop("SIGTERM");
  const squatter = createServer().listen(lab.proxyPort, "127.0.0.1");
  await once(squatter, "listening");
  await assert.rejects(lab.startGateway(), /gateway ended with 1[\s\S]*EADDRINUSE/);
  assert.equal(await interfaceExists(lab.interface), false);
  squatter.close();
  gateway = await lab.startGateway();
});

it("no private key or token shows in the log", async () => {
  const config = await readFile(join(lab.folder, "gateway.toml"), "utf8");
  const secret = /private_key = "([^"]+)"/.exec(config)?.[1] ?? "?";
  const log = gateway.lines.join("\n");
  assert.ok(!log.includes(secret) && !log.includes(ADMIN_TOKEN));
});

async function eventually(check: () => Promise<boolean>, withinMs = 10_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await check().catch(() => false))) {
    if (Date.now() > deadline) assert.fail(`not within ${withinMs} ms`);
    await sleep(100);
  }
}
