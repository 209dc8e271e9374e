import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";
import { Certificates } from "../src/proxy/certificates.ts";
import { httpAnswers } from "../src/proxy/http-answers.ts";
import { ProxyCounters } from "../src/proxy/proxy-counters.ts";
import { ProxyListener } from "../src/proxy/proxy-listener.ts";
import { Watchdog } from "../src/proxy/watchdog.ts";
import { assertTlsSettings } from "../../../libs/http/test/tls-listener.ts";
import { memoryLog } from "./support/log.ts";
import { serverCertificate } from "./support/pki.ts";

const DOMAIN = "apps.test";
const certificate = serverCertificate(`*.${DOMAIN}`);
const { log, lines } = memoryLog();
const counters = new ProxyCounters();
const answers = httpAnswers({ acmeInfo: () => ({}) }, 1_500);
const watchdog = new Watchdog({ idleMs: 1_000, totalMs: 60_000, now: Date.now });
let folder: string;
let listener: ProxyListener;
let onBackend: (socket: Socket) => void = () => undefined;
let backend: Server;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "dstack-gateway-proxy-"));
  await writeFile(join(folder, "c.pem"), certificate.certificatePem);
  await writeFile(join(folder, "k.pem"), certificate.keyPem);
  const certificates = new Certificates({
    source: { baseDomain: DOMAIN, certChain: join(folder, "c.pem"), certKey: join(folder, "k.pem") },
    tlsVersions: ["1.2", "1.3"],
    log,
    now: Date.now,
  });
  await certificates.reload();
  backend = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    onBackend(socket);
  });
  backend.listen(0, "127.0.0.1");
  await once(backend, "listening");
  const { port } = backend.address() as { port: number };
  listener = new ProxyListener({
    host: "127.0.0.1",
    ports: [0],
    maxConnections: 150,
    certificates,
    counters,
    answers,
    watchdog,
    resolve: async (address) =>
      address.id === "none"
        ? { kind: "refused", outcome: "unknown-app", explanation: { status: 404, text: "nobody here" } }
        : {
            kind: "backends",
            backends: [
              {
                host: "127.0.0.1",
                port: address.id === "closed" ? 1 : port,
                instanceId: address.id,
                proxyHeader: false,
              },
            ],
          },
    helloTimeoutMs: 500,
    tlsTimeoutMs: 500,
    connectTimeoutMs: 500,
    log,
    now: Date.now,
  });
  await listener.start();
  watchdog.start();
});

after(async () => {
  watchdog.stop();
  answers.close();
  await listener.close(0);
  backend.close();
  await rm(folder, { recursive: true });
});

async function dial(label: string): Promise<TLSSocket> {
  const socket = connectTls({
    host: "127.0.0.1",
    port: listener.ports[0],
    servername: `${label}.${DOMAIN}`,
    ca: certificate.caPem,
  });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return socket;
}

async function quiet(withinMs = 5_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (counters.open > 0 || counters.relaying > 0) {
    if (Date.now() > deadline) assert.fail(`${counters.open} connections open, ${counters.relaying} relaying`);
    await sleep(20);
  }
}

test("a backend that resets takes the client down, a client that resets takes the backend down", async () => {
  onBackend = (socket) => socket.once("data", () => socket.resetAndDestroy());
  const first = await dial("app");
  first.write("x");
  first.resume();
  await once(first, "close");
  const gone = Promise.withResolvers<void>();
  onBackend = (socket) =>
    void socket
      .resume()
      .on("end", () => socket.end())
      .once("close", () => gone.resolve());
  const raw = connect(listener.ports[0] ?? 0, "127.0.0.1");
  raw.on("error", () => undefined);
  await once(raw, "connect");
  const second = connectTls({ socket: raw, servername: `app.${DOMAIN}`, ca: certificate.caPem });
  second.on("error", () => undefined);
  await once(second, "secureConnect");
  second.write("x");
  await sleep(50);
  raw.resetAndDestroy();
  await gone.promise;
  await quiet();
});

test("what a slow reader does not take is not piled up here", async () => {
  let written = 0;
  onBackend = (socket) => {
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (written < 256 * 1024 * 1024 && socket.write(chunk)) written += chunk.length;
    };
    socket.on("drain", more);
    more();
  };
  const before = process.memoryUsage().rss;
  const client = await dial("app");
  client.pause();
  await sleep(700);
  assert.ok(written < 64 * 1024 * 1024, `${written} bytes were taken from the backend`);
  assert.ok(process.memoryUsage().rss - before < 150 * 1024 * 1024);
  client.destroy();
  await quiet();
});

test("an idle connection is closed, also one whose client has half-closed", async () => {
  onBackend = (socket) => void socket.resume();
  const client = await dial("app");
  const half = await dial("app");
  half.end();
  const started = Date.now();
  client.resume();
  half.resume();
  await Promise.all([once(client, "close"), once(half, "close")]);
  const ms = Date.now() - started;
  assert.ok(ms >= 800 && ms < 3_000, `${ms} ms`);
  await quiet();
});

test("a hundred clients that go away at every stage leave nothing open", async () => {
  onBackend = (socket) => void socket.resume().on("end", () => socket.end());
  const servername = `app.${DOMAIN}`;
  for (let round = 0; round < 10; round++) {
    await Promise.all(
      Array.from({ length: 10 }, async (_, n) => {
        const raw = connect(listener.ports[0] ?? 0, "127.0.0.1");
        raw.on("error", () => undefined);
        await once(raw, "connect");
        if (n === 0) return void raw.destroy();
        if (n === 1) return void raw.end(Buffer.of(22, 3, 1));
        if (n === 2) return void raw.resetAndDestroy();
        const tls = connectTls({
          socket: raw,
          servername: n === 3 ? `none.${DOMAIN}` : n === 4 ? `closed.${DOMAIN}` : servername,
          ca: certificate.caPem,
        });
        tls.on("error", () => undefined);
        if (n === 5) return void setImmediate(() => raw.resetAndDestroy());
        await once(tls, "secureConnect").catch(() => undefined);
        if (n % 2 === 0) tls.write("hello");
        if (n === 6) return void raw.resetAndDestroy();
        tls.destroy();
      }),
    );
  }
  await quiet();
  assert.ok(
    !lines.some((line) => line.includes('"level":"error"')),
    lines
      .filter((line) => line.includes('"level":"error"'))
      .slice(0, 3)
      .join("\n"),
  );
});

test("refused names get an HTTP answer, HEAD and broken requests too, and the connection ends", async () => {
  for (const [request, expected] of [
    ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", /^HTTP\/1\.1 404 [\s\S]*nobody here \(asked for none\.apps\.test\)/],
    ["HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", /^HTTP\/1\.1 404 /],
    ["\x00\x01binary", /^$/],
  ] as const) {
    const client = await dial("none");
    client.write(request);
    let text = "";
    for await (const chunk of client) text += String(chunk);
    assert.match(text, expected);
  }
  await quiet();
});

test("a refused client that sends nothing, or not enough, is not kept", async () => {
  const [silent, drip, h2] = [await dial("none"), await dial("none"), await dial("none-80g")];
  const started = Date.now();
  drip.write("GET / HT");
  for (const socket of [silent, drip, h2]) socket.resume();
  await Promise.all([once(silent, "close"), once(drip, "close"), once(h2, "close")]);
  assert.ok(Date.now() - started < 4_000);
  await quiet();
});

test("the name health answers its one path", async () => {
  for (const [path, status] of [
    ["/", 200],
    ["/x", 404],
  ] as const) {
    const client = await dial("health");
    client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    let text = "";
    for await (const chunk of client) text += String(chunk);
    assert.ok(text.startsWith(`HTTP/1.1 ${status} `), text);
  }
});

test("connections over the limit are turned away and counted", async () => {
  const sockets = await Promise.all(
    Array.from({ length: 160 }, async () => {
      const socket = connect(listener.ports[0] ?? 0, "127.0.0.1");
      socket.on("error", () => undefined);
      await once(socket, "connect");
      return socket;
    }),
  );
  await sleep(100);
  const seen = [counters.open, counters.outcomes["refused-busy"]];
  for (const socket of sockets) socket.destroy();
  assert.deepEqual(seen, [150, 10]);
  await quiet();
});

test("a ClientHello that never comes whole is not waited for", async () => {
  onBackend = (socket) => socket.end("ok");
  const slow = connect(listener.ports[0] ?? 0, "127.0.0.1");
  slow.on("error", () => undefined);
  for (let i = 0; i < 4; i++) {
    slow.write(Buffer.of([22, 3, 1, 2][i] ?? 0));
    await sleep(20);
  }
  const started = Date.now();
  slow.resume();
  await once(slow, "close");
  assert.ok(Date.now() - started < 2_000);
  await quiet();
});

test("agrees with browsers on TLS settings of today alone, and on no second handshake", async () => {
  onBackend = (socket) => socket.resume();
  await assertTlsSettings({ port: listener.ports[0] ?? 0, servername: `app.${DOMAIN}` });
  await quiet();
});
