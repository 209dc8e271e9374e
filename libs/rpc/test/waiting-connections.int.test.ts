/** Requests that never end, from one address and from many, at a listener with small limits. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { createLogger, type Logger } from "@dstack/log";
import { startHttpServer, type HttpServer } from "@dstack/rpc";

const MAX = 64;
let server: HttpServer;
let said: string;
let log: Logger;
const sockets: Socket[] = [];

beforeEach(async () => {
  said = "";
  log = createLogger({ name: "test", level: "debug", stream: { write: (line: string) => (said += line) } });
  server = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    requestTimeoutMs: 60_000,
    maxConnections: 2 * MAX,
    routes: [
      { verbs: ["GET"], path: "/health", handle: async ({ response }) => void response.end("OK") },
      {
        verbs: ["POST"],
        path: "/body",
        handle: async ({ request, response }) => {
          let size = 0;
          for await (const part of request) size += (part as Buffer).length;
          response.end(`got ${size}`);
        },
      },
      { verbs: ["GET"], path: "/large", handle: async ({ response }) => void response.end("x".repeat(2 ** 22)) },
    ],
  });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.close();
});

/** A request from this address whose body lacks its last byte. */
async function unfinished(localAddress: string, framing = "content-length: 2"): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port: server.port, localAddress });
  sockets.push(socket.on("error", () => undefined));
  await once(socket, "connect");
  socket.write(
    `POST /body HTTP/1.1\r\nhost: x\r\n${framing}\r\n\r\n${framing.startsWith("content") ? "a" : "1\r\na\r\n"}`,
  );
  return socket;
}

async function finish(socket: Socket): Promise<string> {
  const answer = once(socket, "data");
  socket.write("b");
  return String((await answer)[0]);
}

const health = async (): Promise<string> => {
  const options = { signal: AbortSignal.timeout(10_000), headers: { connection: "close" } };
  return (await fetch(`http://${server.address}/health`, options)).text();
};
const open = (): number => sockets.filter(({ closed }) => !closed).length;

async function until(done: () => boolean): Promise<void> {
  for (let waited = 0; !done() && waited < 20_000; waited += 20)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(done());
}

test("unfinished requests of one address end each other, and nobody else's", async () => {
  const honest = await unfinished("127.0.0.9");
  for (const framing of ["content-length: 2", "transfer-encoding: chunked"]) {
    for (let i = 0; i < 140; i++) await unfinished("127.0.0.1", framing);
    assert.equal(await health(), "OK");
  }
  await until(() => open() === 1 + MAX / 8);
  assert.match(await finish(honest), /got 2$/);
});

test("unfinished requests of many addresses leave half of the connections to others, the oldest go first", async () => {
  const first = await unfinished("127.0.0.200");
  for (let i = 0; i < 200; i++) await unfinished(`127.0.1.${1 + (i % 50)}`);
  assert.equal(await health(), "OK");
  await until(() => open() === MAX / 2);
  assert.ok(first.closed);
  assert.match(await finish(await unfinished("127.0.0.9")), /got 2$/, "who comes now and finishes is served");
});

test("a request that has arrived is ended by no other, however long its answer takes", async () => {
  const release = Promise.withResolvers<void>();
  const slow = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    maxConnections: 2 * MAX,
    routes: [
      {
        verbs: ["POST"],
        path: "/slow",
        handle: async ({ request, response }) => {
          for await (const _ of request);
          await release.promise;
          response.end("done");
        },
      },
    ],
  });
  try {
    const answers = Array.from({ length: MAX / 2 }, async () => {
      const answer = await fetch(`http://${slow.address}/slow`, { method: "POST", body: "whole" });
      return answer.text();
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    release.resolve();
    assert.deepEqual(new Set(await Promise.all(answers)), new Set(["done"]));
  } finally {
    await slow.close();
  }
});

test("clients that do not read their answers keep nobody out", async () => {
  for (let i = 0; i < 2 * MAX; i++) {
    const socket = connect({ host: "127.0.0.1", port: server.port });
    sockets.push(socket.on("error", () => undefined).pause());
    await once(socket, "connect");
    socket.write("GET /large HTTP/1.1\r\nhost: x\r\n\r\n");
  }
  for (let i = 0; i < 10; i++) assert.equal(await health(), "OK");
});

test("a Unix socket, whose clients have no address, is bounded alike", async () => {
  const folder = await mkdtemp(join(tmpdir(), "waiting-"));
  const path = join(folder, "s.sock");
  const local = await startHttpServer({
    listen: { path },
    log,
    maxConnections: 2 * MAX,
    routes: [
      {
        verbs: ["POST"],
        path: "/body",
        handle: async ({ request, response }) => {
          for await (const _ of request);
          response.end("got it");
        },
      },
    ],
  });
  try {
    for (const begun of ["", "POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\na"]) {
      for (let i = 0; i < 3 * MAX; i++) {
        const socket = connect(path);
        sockets.push(socket.on("error", () => undefined));
        await once(socket, "connect");
        socket.write(begun);
      }
      const whole = connect(path);
      sockets.push(whole);
      const answer = once(whole, "data");
      whole.write("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na");
      assert.match(String((await answer)[0]), /got it/);
    }
  } finally {
    for (const socket of sockets) socket.destroy();
    await local.close();
    await rm(folder, { recursive: true });
  }
});

test("a request that its client cut is no error of the server", async () => {
  const socket = await unfinished("127.0.0.1");
  socket.destroy();
  await until(() => /its client ended the connection/.test(said));
  assert.doesNotMatch(said, /"level":"error"/);
});
