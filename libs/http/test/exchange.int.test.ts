import assert from "node:assert/strict";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { exchange, exchangeFollowing, HttpError, keptConnections, streamedFetch, type HttpRequest } from "@dstack/http";
import { generateP256, pkcs8Pem } from "@dstack/keys";
import { createCa } from "@dstack/ratls";

const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close().closeAllConnections();
});

async function listening(server: Server, path?: string): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => {
    if (path === undefined) server.listen(0, "127.0.0.1", resolve);
    else server.listen(path, resolve);
  });
  return path === undefined ? (server.address() as AddressInfo).port : 0;
}

const serve = async (listener: RequestListener): Promise<string> =>
  `http://127.0.0.1:${await listening(createServer(listener))}`;

const limits = { timeoutMs: 5_000, maxAnswerBytes: 1_000 } as const;
const textOf = async (request: HttpRequest): Promise<string> => Buffer.from((await exchange(request)).body).toString();

async function refusal(run: Promise<unknown>): Promise<HttpError> {
  const error: unknown = await run.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof HttpError, String(error));
  return error;
}

test("carries method, headers and body there, and status, headers and body back", async () => {
  const url = await serve((request, response) => {
    request.setEncoding("utf8").on("data", (body: string) => {
      response.writeHead(418, { "x-seen": request.headers["x-sent"] ?? "" });
      response.end(`${request.method} ${request.url} ${request.headers["content-length"]} ${body}`);
    });
  });
  const answer = await exchange({ url: `${url}/a?b=c`, body: "ünï", headers: { "x-sent": "1" }, ...limits });
  assert.equal(answer.status, 418);
  assert.equal(answer.headers["x-seen"], "1");
  assert.equal(Buffer.from(answer.body).toString(), "POST /a?b=c 5 ünï");
});

test("speaks to a Unix socket, and to another address than the name says", async () => {
  const folder = await mkdtemp(join(tmpdir(), "http-"));
  const socketPath = join(folder, "s");
  await listening(
    createServer((request, response) => response.end(`${request.headers.host} ${request.url}`)),
    socketPath,
  );
  assert.equal(await textOf({ url: "http://docker/x?y", socketPath, ...limits }), "docker /x?y");
  const { port } = new URL(await serve((request, response) => response.end(request.headers.host)));
  assert.equal(
    await textOf({ url: `http://app.invalid:${port}/`, dial: "127.0.0.1", ...limits }),
    `app.invalid:${port}`,
  );
  await rm(folder, { recursive: true });
});

test("ends at the deadline, whether nothing comes or it drips", async () => {
  const silent = await serve(() => undefined);
  const dripping = await serve((_, response) => {
    const timer = setInterval(() => response.write("."), 20);
    response.on("close", () => clearInterval(timer));
  });
  for (const url of [silent, dripping]) {
    const begun = performance.now();
    const error = await refusal(exchange({ url, timeoutMs: 200, maxAnswerBytes: 1_000 }));
    assert.equal(error.code, "timed-out");
    assert.equal(error.message, "no answer within 200 ms");
    assert.ok(performance.now() - begun < 2_000);
  }
});

test("reads no more than asked, follows nobody elsewhere, and can be given up", async () => {
  const flood = await serve((_, response) => response.end("x".repeat(1_001)));
  assert.equal((await refusal(exchange({ url: flood, ...limits }))).code, "answer-too-large");
  const exact = await serve((_, response) => response.end("x".repeat(1_000)));
  assert.equal((await textOf({ url: exact, ...limits })).length, 1_000);
  const moved = await serve((_, response) => response.writeHead(302, { location: exact }).end());
  assert.equal((await exchange({ url: moved, ...limits })).status, 302);
  const stop = new AbortController();
  const silent = await serve(() => stop.abort(new Error("enough")));
  assert.equal((await refusal(exchange({ url: silent, signal: stop.signal, ...limits }))).code, "aborted");
});

test("says why nobody answered, with the system's code as a fact", async () => {
  const error = await refusal(exchange({ url: "http://127.0.0.1:1/", ...limits }));
  assert.equal(error.code, "no-answer");
  assert.equal(error.facts["system"], "ECONNREFUSED");
  const cut = await serve((_, response) =>
    response.writeHead(200, { "content-length": 9 }).end("x", () => response.destroy()),
  );
  assert.equal((await refusal(exchange({ url: cut, ...limits }))).code, "no-answer");
});

test("replaces a kept connection that the server had closed, once, and asks nothing twice", async () => {
  const sockets = new Set<Socket>();
  let asked = 0;
  const url = await serve((request, response) => {
    sockets.add(request.socket);
    asked++;
    // The second request on a connection is dropped unanswered, as by a server that had just closed it.
    if (asked === 2) request.socket.resetAndDestroy();
    else response.end("yes");
  });
  const connections = keptConnections(url);
  assert.equal(await textOf({ url, connections, ...limits }), "yes");
  assert.equal(await textOf({ url, connections, ...limits }), "yes");
  assert.deepEqual([asked, sockets.size], [3, 2]);
  const broken = await serve((request) => request.socket.resetAndDestroy());
  assert.equal(
    (await refusal(exchange({ url: broken, connections: keptConnections(broken), ...limits }))).code,
    "no-answer",
  );
  connections.destroy();
});

test("asks a second time only what may be asked twice", async () => {
  let asked = 0;
  const url = await serve((request, response) => {
    request.resume().once("end", () => {
      asked++;
      // Read whole, and then dropped: the server may have acted on it.
      if (asked % 2 === 0) request.socket.resetAndDestroy();
      else response.end("yes");
    });
  });
  const askTwice = async (second: Partial<HttpRequest>): Promise<number> => {
    const connections = keptConnections(url);
    asked = 0;
    await exchange({ url, connections, ...limits });
    await exchange({ url, connections, ...limits, ...second }).catch((error: unknown) => {
      assert.ok(error instanceof HttpError && error.code === "no-answer" && error.facts["system"] === "ECONNRESET");
    });
    connections.destroy();
    return asked;
  };
  for (const second of [{ body: "x" }, { method: "POST" }, { method: "PUT", body: "x" }, { method: "DELETE" }] as const)
    assert.equal(await askTwice(second), 2, JSON.stringify(second));
  for (const second of [{}, { method: "HEAD" }, { body: "x", repeatable: true }] as const)
    assert.equal(await askTwice(second), 3, JSON.stringify(second));
});

test("nothing of the request leaves before the peer has passed", async () => {
  const key = generateP256();
  const now = Math.floor(Date.now() / 1000);
  const ca = createCa({ commonName: "x", key, pathLength: 0, now });
  const received: string[] = [];
  const server = createTlsServer({ cert: ca.pem, key: pkcs8Pem(key) }, (request, response) => {
    received.push(request.url ?? "");
    response.end("secret");
  });
  const url = `https://127.0.0.1:${await listening(server)}`;
  const tls = { rejectUnauthorized: false };
  await assert.rejects(
    exchange({
      url: `${url}/told`,
      tls,
      checkPeer: () => {
        throw new RangeError("not you");
      },
      ...limits,
    }),
    RangeError,
  );
  const passed = await exchange({ url: `${url}/passed`, tls, checkPeer: () => undefined, ...limits });
  assert.equal(passed.status, 200);
  assert.deepEqual(received, ["/passed"]);
  assert.equal(
    (await refusal(exchange({ url, ...limits }))).code,
    "no-answer",
    "and TLS checks chains unless told otherwise",
  );
});

test("follows redirects from https to https alone, three of them, and keeps credentials at home", async () => {
  const key = generateP256();
  const ca = createCa({ commonName: "x", key, pathLength: 0, now: Math.floor(Date.now() / 1000) });
  const secure = async (listener: RequestListener): Promise<string> =>
    `https://127.0.0.1:${await listening(createTlsServer({ cert: ca.pem, key: pkcs8Pem(key) }, listener))}`;
  const seen: (string | undefined)[] = [];
  const goal = await secure((request, response) => {
    seen.push(request.headers.authorization);
    response.end(request.url);
  });
  const plain = await serve((_, response) => response.end("plain"));
  const start = await secure((request, response) => {
    seen.push(request.headers.authorization);
    const [, place, times = "0"] = (request.url ?? "").split("/");
    const targets: Record<string, string> = { goal: `${goal}/there`, plain, again: `/again/${Number(times) + 1}` };
    const location = place === "again" && times === "3" ? `${goal}/four` : (targets[place ?? ""] ?? goal);
    response.writeHead(307, { location }).end();
  });
  const ask = (path: string, origin = start) =>
    exchangeFollowing({
      url: `${origin}${path}`,
      headers: { authorization: "mine" },
      tls: { rejectUnauthorized: false },
      ...limits,
    });
  assert.equal(Buffer.from((await ask("/goal")).body).toString(), "/there");
  assert.deepEqual(seen, ["mine", undefined]);
  assert.equal((await refusal(ask("/plain"))).code, "redirect-refused");
  assert.equal((await refusal(ask("/again"))).code, "redirect-refused");
  const moved = await serve((_, response) => response.writeHead(302, { location: goal }).end());
  assert.equal((await refusal(ask("/", moved))).code, "redirect-refused");
});

test("gives up on a peer with whom no connection comes about long before the answer's deadline", async () => {
  const silent = createTcpServer((socket) => held.push(socket));
  const held: Socket[] = [];
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const url = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  // A record that promises a ServerHello and never brings it.
  silent.once("connection", (socket) => socket.write(Uint8Array.of(22, 3, 3, 0, 80, 2, 0, 0, 76)));
  const begun = performance.now();
  const ask = (): Promise<HttpError> =>
    refusal(exchange({ url, tls: { rejectUnauthorized: false }, timeoutMs: 60_000, maxAnswerBytes: 10 }));
  const stream = (): Promise<HttpError> => refusal(streamedFetch(url));
  const errors = await Promise.all([ask(), ask(), stream()]);
  const tookMs = performance.now() - begun;
  for (const socket of held) socket.destroy();
  silent.close();
  for (const error of errors)
    assert.deepEqual([error.code, error.message], ["not-connected", "no TLS connection within 5000 ms"]);
  assert.ok(tookMs > 4_500 && tookMs < 8_000, `${tookMs} ms`);
});

test("an answer may come later than a connection must, also over one that is kept", async () => {
  let late = 0;
  const url = await serve((_, response) => void setTimeout(() => response.end("x"), late));
  const connections = keptConnections(url);
  await exchange({ url, connections, ...limits });
  late = 5_500;
  const asked = { url, timeoutMs: 20_000, maxAnswerBytes: 10 } as const;
  const answers = await Promise.all([exchange({ ...asked, connections }), exchange(asked)]);
  connections.destroy();
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200],
  );
});

test("says that a port speaks no TLS, and who trusts whom, in words of its own", async () => {
  const plain = (await serve((_, response) => response.end())).replace("http:", "https:");
  const error = await refusal(exchange({ url: plain, ...limits }));
  assert.deepEqual([error.code, error.message], ["no-tls", "the server speaks no TLS on that port"]);

  const key = generateP256();
  const cert = createCa({ commonName: "somebody", key, pathLength: 0, now: Math.floor(Date.now() / 1_000) }).pem;
  const server = createTlsServer({ key: pkcs8Pem(key), cert }, (_, response) => response.end());
  const untrusted = await refusal(exchange({ url: `https://127.0.0.1:${await listening(server)}`, ...limits }));
  assert.deepEqual([untrusted.code, untrusted.message], ["no-answer", "self-signed certificate"]);

  const old = createTlsServer({ key: pkcs8Pem(key), cert, maxVersion: "TLSv1.2" }, (_, response) => response.end());
  const url = `https://127.0.0.1:${await listening(old)}`;
  const refused = await refusal(exchange({ url, tls: { minVersion: "TLSv1.3" }, ...limits }));
  assert.match(refused.message, /^the TLS connection failed: tlsv1 alert protocol version$/);

  const hangsUp = createTcpServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => hangsUp.listen(0, "127.0.0.1", resolve));
  const broken = await refusal(
    exchange({ url: `https://127.0.0.1:${(hangsUp.address() as AddressInfo).port}`, ...limits }),
  );
  hangsUp.close();
  assert.equal(broken.message, "the server ended the connection during the TLS handshake");
});

test("streams an answer as it comes, until its reader has enough or its deadline is there", async () => {
  const url = await serve((request, response) => {
    response.writeHead(request.url === "/none" ? 204 : 200, { "x-agent": request.headers["user-agent"] ?? "" });
    if (request.url === "/none") response.end();
    else response.write("first");
  });
  const reading = new AbortController();
  const answer = await streamedFetch(`${url}/`, { signal: reading.signal });
  assert.deepEqual([answer.status, answer.headers.get("x-agent")], [200, "dstack"]);
  const reader = answer.body!.getReader();
  assert.equal(Buffer.from((await reader.read()).value!).toString(), "first");
  reading.abort();
  await assert.rejects(reader.read());
  assert.equal((await streamedFetch(`${url}/none`)).status, 204);
  const early = AbortSignal.abort(new Error("no longer wanted"));
  assert.equal((await refusal(streamedFetch(url, { signal: early }))).code, "aborted");
});
