import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createLogger } from "@dstack/log";
import { prpc, vmm } from "@dstack/proto";
import {
  callRpc,
  httpTransport,
  mount,
  readBody,
  route,
  RpcError,
  startHttpServer,
  type HttpServer,
  type RpcTransport,
} from "@dstack/rpc";

const log = createLogger({ name: "test", level: "silent" });
let server: HttpServer;
let base: string;

before(async () => {
  server = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    mounts: [
      mount("/prpc/", {
        prefixes: ["Teepod.", "Vmm."],
        log,
        authenticate: async (auth: "anyone" | "nobody") => {
          if (auth === "nobody") throw new RpcError("unauthenticated", "nobody may", { status: 401 });
          return {};
        },
        routes: [
          route(vmm.Vmm.method.getInfo, {
            auth: "anyone",
            handle: async ({ id }) => ({
              found: false,
              info: { id, events: [{ event: "e", body: "b", timestamp: 2n ** 63n + 1n }] },
            }),
          }),
          route(vmm.Vmm.method.getComposeHash, {
            auth: "anyone",
            bodyLimitBytes: 1024,
            handle: async ({ composeFile }) => ({ hash: composeFile }),
          }),
          route(vmm.Vmm.method.stopVm, {
            auth: "anyone",
            handle: async () => {
              throw new Error("outer", { cause: new Error("inner") });
            },
          }),
          route(vmm.Vmm.method.removeVm, { auth: "nobody", handle: async () => ({}) }),
          route(vmm.Vmm.method.startVm, { auth: "anyone", handle: async () => ({}) }),
          route(vmm.Vmm.method.getAppEnvEncryptPubKey, {
            auth: "anyone",
            handle: async ({ appId }) => ({ publicKey: appId, timestamp: 1n }),
          }),
        ],
      }),
    ],
  });
  base = `http://${server.address}/prpc`;
});
after(() => server.close());

/** The error of a refusal whose body names the request as its header does. */
async function refused(answer: Response): Promise<string> {
  assert.equal(answer.status, 400);
  const { error, ...rest } = (await answer.json()) as { readonly error: string };
  assert.deepEqual(rest, { request_id: answer.headers.get("x-request-id") });
  return error;
}

const post = (path: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${base}/${path}`, { method: "POST", body: typeof body === "string" ? body : Buffer.from(body), headers });

test("answers JSON with proto names, hex bytes, plain 64-bit numbers, nulls and defaults", async () => {
  const answer = await post("Vmm.GetInfo?json", '{"id":"x","unknown":1}');
  const text = await answer.text();
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.ok(text.includes('"timestamp":9223372036854775809'), text);
  const info = (JSON.parse(text) as { info: Record<string, unknown> }).info;
  assert.equal(info["app_url"], null);
  assert.equal(info["configuration"], null);
  assert.equal(info["boot_error"], "");
});

test("answers protobuf with protobuf", async () => {
  const answer = await post("Teepod.Vmm.GetInfo", toBinary(vmm.IdSchema, create(vmm.IdSchema, { id: "y" })));
  assert.equal(fromBinary(vmm.GetInfoResponseSchema, new Uint8Array(await answer.arrayBuffer())).info?.id, "y");
});

test("takes GET with a query, an empty body as defaults, and answers an empty message with null", async () => {
  assert.equal(((await (await fetch(`${base}/GetInfo?id=q`)).json()) as { info: { id: string } }).info.id, "q");
  assert.equal((await post("GetInfo?json", "")).status, 200);
  assert.equal(await (await post("StartVm?json", '{"id":"1"}')).text(), "null");
});

test("hex takes any number of 0x and refuses odd digits", async () => {
  const ok = (await (await post("GetAppEnvEncryptPubKey?json", '{"app_id":"0x0xAB"}')).json()) as {
    public_key: string;
  };
  assert.equal(ok.public_key, "ab");
  assert.equal((await post("GetAppEnvEncryptPubKey?json", '{"app_id":"abc"}')).status, 400);
});

test("failures are 400 with the whole cause chain, in the caller's form", async () => {
  const json = await post("StopVm?json", "{}");
  assert.equal(json.status, 400);
  const id = json.headers.get("x-request-id");
  assert.equal(await json.text(), `{\n  "error": "outer: inner",\n  "request_id": "${id}"\n}`);
  const binary = await post("StopVm", new Uint8Array());
  assert.equal(fromBinary(prpc.PrpcErrorSchema, new Uint8Array(await binary.arrayBuffer())).message, "outer: inner");
});

test("an unknown method, a wrong type, a null scalar, bad JSON and bad protobuf are refused by name", async () => {
  for (const [path, body, text] of [
    ["Vmm.Nope?json", "{}", "Service not found: Nope"],
    ["GetInfo?json", '{"id":1}', "invalid id: expected string"],
    ["GetInfo?json", '{"id":null}', "invalid id"],
    ["GetComposeHash?json", '{"vcpu":2.0}', "invalid vcpu: expected an integer"],
    ["GetComposeHash?json", '{"vcpu":2e0}', "invalid vcpu: expected an integer"],
    ["GetComposeHash?json", '{"vcpu":-0}', "invalid vcpu: expected an integer"],
    ["GetInfo?json", "{", "not valid JSON"],
    ["GetInfo?json", "[]", "expected an object"],
  ] as const) {
    const answer = await post(path, body);
    assert.equal(answer.status, 400);
    assert.match(((await answer.json()) as { error: string }).error, new RegExp(text.replace(/[()[\]]/g, "\\$&")));
  }
  assert.equal((await post("GetInfo", Uint8Array.of(0x0a, 0x7f))).status, 400);
});

test("JSON that would take long to parse is refused before it is parsed, whatever its strings hold", async () => {
  for (const body of [
    "[".repeat(65),
    '{"a":'.repeat(65),
    `{"x":[${"1,".repeat(100_001)}1]}`,
    `{"a":"\\\\"${",".repeat(100_001)}`,
  ]) {
    assert.match(await (await post("GetInfo?json", body)).text(), /at most 100000 values and 64 levels/);
  }
  for (const id of ["[".repeat(1_000), '"\\[{'.repeat(10_000), ",".repeat(200_000)])
    assert.equal((await post("GetInfo?json", JSON.stringify({ id }))).status, 200);
});

test("a stranger's input is neither logged nor answered in proportion to what was sent", async () => {
  let logged = "";
  const noisy = createLogger({ name: "test", stream: { write: (text: string) => (logged += text) } });
  const echoing = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log: noisy,
    mounts: [
      mount("/prpc/", {
        prefixes: [],
        log: noisy,
        authenticate: async () => undefined,
        routes: [
          route(vmm.Vmm.method.getComposeHash, {
            auth: "anyone",
            handle: async ({ composeFile }) => {
              throw new Error(composeFile);
            },
          }),
        ],
      }),
    ],
  });
  try {
    const at = `http://${echoing.address}/prpc`;
    for (const [path, body] of [
      [`${"%00".repeat(15_000)}?json`, "{}"],
      ["GetComposeHash?json", JSON.stringify({ compose_file: "\u0001".repeat(1_000_000) })],
      ["GetComposeHash?json", `{"compose_file":${"9".repeat(1_000_000)}}`],
    ] as const) {
      logged = "";
      const answer = await fetch(`${at}/${path}`, { method: "POST", body });
      assert.equal(answer.status, 400);
      const text = await answer.text();
      assert.ok(text.length < 24_000, `${text.length} characters answered`);
      assert.ok(logged.length < 8_000, `${logged.length} characters logged`);
    }
    const long = await fetch(`${at}/${"x".repeat(10_000)}?json`, { method: "POST", body: "{}" });
    assert.equal(await refused(long), `Service not found: ${"x".repeat(256)}`);
  } finally {
    await echoing.close();
  }
});

test("what says a thing twice or is no Unicode is refused, so that two names never mean one thing", async () => {
  for (const [body, text] of [
    ['{"id":"a","id":"b"}', 'request: "id" is said twice'],
    ['{"id":"a","\\u0069d":"b"}', 'request: "id" is said twice'],
    ['{"id":"\\ud800"}', "request: holds text that is no valid Unicode"],
    ['{"id":"a","other":"\\udfff"}', "request: holds text that is no valid Unicode"],
  ] as const) {
    const answer = await post("GetInfo?json", body);
    assert.equal(await refused(answer), text);
  }
  for (const [query, text] of [
    ["id=a&id=b", "invalid id: is said twice"],
    ["id=a&%69d=b", "invalid id: is said twice"],
    ["id=caf%e9", "query is not valid UTF-8"],
    ["id=caf%c3", "query is not valid UTF-8"],
    ["id=x&other=%ff", "query is not valid UTF-8"],
  ] as const) {
    const answer = await fetch(`${base}/GetInfo?${query}`);
    assert.equal(await refused(answer), text, query);
  }
  for (const [query, id] of [
    ["id=caf%C3%A9", "café"],
    ["id=100%25+%zz", "100% %zz"],
    ["id=%F0%9F%98%80", "😀"],
  ] as const)
    assert.equal(((await (await fetch(`${base}/GetInfo?${query}`)).json()) as { info: { id: string } }).info.id, id);
});

test("errors name their request to people, and never change what released clients froze (PC #506)", async () => {
  const frozen = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    mounts: [
      mount("/prpc/", { prefixes: [], log, authenticate: async () => undefined, bareErrors: true, routes: [] }),
      mount("/", { prefixes: [], log, authenticate: async () => undefined, routes: [] }),
    ],
  });
  try {
    const at = `http://${frozen.address}`;
    for (const path of ["/prpc/Nope?json", "/prpc/Nope?json&a=%ff"]) {
      const bare = await fetch(`${at}${path}`);
      assert.match(bare.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
      assert.deepEqual(Object.keys((await bare.json()) as object), ["error"], path);
    }
    assert.match(await refused(await fetch(`${at}/Nope?json`)), /^Service not found/);
    assert.match(await refused(await fetch(`${at}/Nope?json&a=%ff`)), /UTF-8/);
    for (const path of ["/a/b/c", "/Nope"]) {
      const other = await fetch(`${at}${path}`, { method: "POST" });
      assert.match(other.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/, path);
      if (path === "/Nope")
        assert.deepEqual(
          fromBinary(prpc.PrpcErrorSchema, new Uint8Array(await other.arrayBuffer())).$unknown,
          undefined,
        );
    }
  } finally {
    await frozen.close();
  }
});

test("a body over the route's limit is refused", async () => {
  const answer = await post("GetComposeHash?json", JSON.stringify({ compose_file: "x".repeat(2_000) }));
  assert.equal(await refused(answer), "failed to read data: payload too large");
});

test("a route whose rule is not met never runs its handler", async () => {
  assert.equal((await post("RemoveVm?json", "{}")).status, 401);
});

test("a peer's error text is cut between characters and cleaned before it goes anywhere", async () => {
  const saying = (text: string): RpcTransport => ({
    call: async () => ({ status: 400, body: Buffer.from(JSON.stringify({ error: text })) }),
  });
  const said = async (text: string): Promise<string> =>
    callRpc(saying(text), vmm.Vmm.method.stopVm, {}).then(
      () => "",
      (error: unknown) => (error as RpcError).message,
    );
  assert.equal(await said("one\n\nCaused by:\u001b[31m two\u0000"), "one\n\nCaused by:\\x1b[31m two\\x00");
  const long = await said(`a${"😀".repeat(1_000_000)}`);
  assert.ok(Array.from(long).length === 4_000 && long.isWellFormed());
});

test("the client types answers and carries the peer's error text", async () => {
  const transport = httpTransport({ baseUrl: base });
  assert.equal((await callRpc(transport, vmm.Vmm.method.getInfo, { id: "c" })).info?.id, "c");
  await assert.rejects(
    callRpc(transport, vmm.Vmm.method.stopVm, {}),
    (error: unknown) => error instanceof RpcError && error.code === "remote-error" && error.message === "outer: inner",
  );
  await assert.rejects(
    callRpc(httpTransport({ baseUrl: "http://127.0.0.1:1/prpc" }), vmm.Vmm.method.stopVm, {}),
    (error: unknown) => error instanceof RpcError && error.code === "transport-failed",
  );
});

test("a method name that is not valid percent-encoding is an unknown method", async () => {
  const answer = await post("%E0%A4%A?json", "{}");
  assert.equal(await refused(answer), "Service not found: %E0%A4%A");
});

/** What the server answers to these bytes, until it closes. */
const raw = (port: number, text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    socket
      .on("error", reject)
      .on("data", (chunk: Buffer) => (answer += chunk.toString()))
      .on("close", () => resolve(answer));
  });

test("serves targets as clients write them: slashes too many, the absolute form, no Host", async () => {
  for (const head of [
    "GET //prpc/GetInfo?id=t HTTP/1.1\r\nhost: x",
    "GET /prpc//GetInfo?id=t HTTP/1.1\r\nhost: x",
    "GET http://unix.socket/prpc/GetInfo?id=t HTTP/1.1\r\nhost: y",
    "GET HTTPS://unix.socket:1//prpc/GetInfo?id=t HTTP/1.1",
    "GET /prpc/GetInfo?id=t HTTP/1.1",
  ]) {
    const answer = await raw(server.port, `${head}\r\nconnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1.1 200 /, head);
    assert.match(answer, /"id":"t"/, head);
  }
  for (const target of ["*", "ftp://x/prpc/GetInfo", "prpc/GetInfo"])
    assert.match(
      await raw(server.port, `GET ${target} HTTP/1.1\r\nconnection: close\r\n\r\n`),
      /^HTTP\/1.1 400 /,
      target,
    );
});

test("HEAD is a GET without its body; plain routes refuse a repeated field, and too large bodies and heads by their status", async () => {
  const plain = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    routes: [
      {
        verbs: ["GET"],
        path: "/health",
        handle: async ({ response, url }) => void response.end(`ok ${url.searchParams.get("a")}`),
      },
      {
        verbs: ["POST"],
        path: "/take",
        handle: async ({ request, response }) => void response.end(String((await readBody(request, 10)).length)),
      },
    ],
  });
  try {
    const at = `http://${plain.address}`;
    const head = await fetch(`${at}/health`, { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [200, ""]);
    assert.equal((await fetch(`${base}/GetInfo?id=q`, { method: "HEAD" })).status, 200);
    assert.equal((await fetch(`${at}/take`, { method: "HEAD" })).status, 404);
    assert.equal((await fetch(`${at}/health?a=1&a=2`)).status, 400);
    assert.equal(await (await fetch(`${at}//health?a=1`)).text(), "ok 1");
    assert.equal((await fetch(`${at}/take`, { method: "POST", body: "x".repeat(11) })).status, 413);
    assert.equal(await (await fetch(`${at}/take`, { method: "POST", body: "x".repeat(10) })).text(), "10");
    assert.match(await raw(plain.port, `GET /${"x".repeat(70_000)} HTTP/1.1\r\n\r\n`), /^HTTP\/1.1 431 /);
  } finally {
    await plain.close();
  }
});

test("a head or a body that never ends is cut off at its deadline", async () => {
  const strict = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    headersTimeoutMs: 200,
    requestTimeoutMs: 400,
    routes: [],
  });
  try {
    const starts = [
      "",
      "GET / HTTP/1.1\r\nhost: x\r\nx-slow: ",
      "POST /prpc/GetInfo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc",
    ];
    await Promise.all(
      starts.map(async (start) => {
        const socket = connect(strict.port, "127.0.0.1");
        // A reset is as good an end as any, so no once(): it would throw it.
        await new Promise((resolve) =>
          socket
            .on("error", () => undefined)
            .on("close", resolve)
            .resume()
            .write(start),
        );
      }),
    );
  } finally {
    await strict.close();
  }
});

test("large bodies share a budget, and what is under way for the longest is given up for others", async () => {
  const big = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    maxBodyBytes: 1_000_000,
    mounts: [
      mount("/prpc/", {
        prefixes: [],
        log,
        authenticate: async () => undefined,
        routes: [
          route(vmm.Vmm.method.getComposeHash, { auth: "anyone", handle: async () => ({ hash: "h" }) }),
          route(vmm.Vmm.method.version, { auth: "anyone", handle: async () => ({}) }),
        ],
      }),
    ],
  });
  const send = (bytes: number) =>
    fetch(`http://${big.address}/prpc/GetComposeHash?json`, {
      method: "POST",
      body: JSON.stringify({ compose_file: "x".repeat(bytes) }),
    });
  const sockets: Socket[] = [];
  /** A body that never ends, and whether it still may. */
  const slow = async (path: string, bytes = 900_000): Promise<{ readonly isOpen: () => boolean }> => {
    const socket = connect(big.port, "127.0.0.1").on("error", () => undefined);
    sockets.push(socket);
    await once(socket, "connect");
    const held = "x".repeat(bytes);
    socket.write(`POST /prpc/${path}?json HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes + 1}\r\n\r\n${held}`);
    let isOpen = true;
    socket.once("close", () => (isOpen = false)).resume();
    return { isOpen: () => isOpen };
  };
  const until = async (condition: () => boolean): Promise<void> => {
    for (let i = 0; !condition() && i < 500; i++) assert.equal((await send(200_000)).status, 200);
    assert.ok(condition());
  };
  try {
    const first = await slow("GetComposeHash");
    await until(() => !first.isOpen());
    const small = await slow("GetComposeHash", 60_000);
    const second = await slow("GetComposeHash", 700_000);
    assert.equal((await send(200_000)).status, 200, "there is room beside it");
    const third = await slow("GetComposeHash", 700_000);
    await until(() => !second.isOpen());
    assert.ok(small.isOpen(), "what is small stays");
    // Nobody looks at these bodies, so they take no room.
    const ignored = await Promise.all(["Version", "Version", "Nothing", "Nothing"].map((path) => slow(path)));
    assert.equal((await send(200_000)).status, 200);
    assert.ok([third, small, ...ignored].every(({ isOpen }) => isOpen()));
    const alone = await send(1_100_000);
    assert.deepEqual([alone.status, /too many large requests at once/.test(await alone.text())], [400, true]);
  } finally {
    for (const socket of sockets) socket.destroy();
    await big.close();
  }
});

test("closing ends connections in a TLS handshake, and bodies that never come", { timeout: 600_000 }, async () => {
  for (const tls of [undefined, { requestClientCertificate: false }]) {
    const long = 3_600_000;
    const closing = await startHttpServer({
      listen: { host: "127.0.0.1", port: 0 },
      log,
      requestTimeoutMs: long,
      headersTimeoutMs: long,
      mounts: [],
      ...(tls === undefined ? {} : { tls }),
    });
    const silent = connect(closing.port, "127.0.0.1");
    const slow = connect(closing.port, "127.0.0.1", () =>
      slow.write("POST /prpc/GetInfo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{"),
    );
    const ended = [silent, slow].map(
      (socket) =>
        new Promise((resolve) =>
          socket
            .on("error", () => undefined)
            .on("close", resolve)
            .resume(),
        ),
    );
    while ((await connections(closing)) < 2) await new Promise((resolve) => setImmediate(resolve));
    await closing.close();
    await Promise.all(ended);
  }
});

const connections = ({ server: listener }: HttpServer): Promise<number> =>
  new Promise((resolve, reject) =>
    listener.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  );
