/** No request of any form ends the process or grows its memory without bound. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { after, before, test } from "node:test";
import { createLogger } from "@dstack/log";
import { kms } from "@dstack/proto";
import { mount, route, RpcError, startHttpServer, type RpcCall } from "@dstack/rpc";
import { AnonymousLimits } from "../src/rate-limit/anonymous-limits.ts";
import type { Caller } from "../src/release/caller.ts";

/** Well above what the connections and bodies below may take, far below what they would take unbounded. */
const MAX_RSS_MIB = 900;
let folder: string;
let child: ChildProcess;
let said = "";
let port: number;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kms-hostile-"));
  const config = join(folder, "kms.toml");
  await writeFile(
    config,
    `[rpc]\naddress = "127.0.0.1"\nport = 0\n[core]\ncert_dir = "${folder}/keys"\n[core.auth_api]\ntype = "dev"\n[core.image]\nverify = false\n[core.onboard]\nquote_enabled = false\nauto_bootstrap_domain = "127.0.0.1"\n[core.rate_limit]\nper_address = 5000\nper_app = 100\n`,
  );
  child = spawn(process.execPath, [join(import.meta.dirname, "../src/main.ts"), "-c", config], {
    env: { PATH: process.env["PATH"] },
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.stderr!.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await until(() => /"address":"[^"]+:(\d+)"/.test(said) || child.exitCode !== null);
  port = Number(/"address":"[^"]+:(\d+)"/.exec(said)?.[1]);
  assert.ok(port > 0, said);
});
after(async () => {
  child.kill("SIGTERM");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  await rm(folder, { recursive: true });
  assert.equal(child.exitCode, 0, said.slice(-2_000));
});

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < 240_000; waited += 50) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not in time: ${String(holds)}`);
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** One call on a connection of its own; an answer that comes before the body is sent counts. */
function call(path: string, body?: Buffer | string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(
      {
        host: "127.0.0.1",
        port,
        path,
        method: body === undefined ? "GET" : "POST",
        headers,
        rejectUnauthorized: false,
        agent: false,
      },
      (response) => {
        let text = "";
        response
          .setEncoding("utf8")
          .on("data", (chunk: string) => (text += chunk))
          .on("end", () => resolve({ status: response.statusCode ?? 0, text }))
          .on("error", reject);
      },
    );
    sent.on("error", reject).end(body);
  });
}

const works = async (): Promise<boolean> => (await call("/prpc/GetTempCaCert?json")).status === 200;

async function rssMib(): Promise<number> {
  const status = await readFile(`/proc/${child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

test(
  "bodies of 10 MB and more, of every form, are refused or read, and nothing remains of them",
  { timeout: 600_000 },
  async () => {
    const forms: [Buffer, Record<string, string>][] = [
      [Buffer.alloc(10 * 2 ** 20 + 1, 0x20), { "content-type": "application/json" }],
      [Buffer.alloc(10 * 2 ** 20, 0xff), {}],
      [Buffer.from(`{"csr":"${"ab".repeat(5 * 2 ** 20 - 100)}"}`), { "content-type": "application/json" }],
      [Buffer.from(`${'{"a":'.repeat(2 ** 20)}`), { "content-type": "application/json" }],
      [Buffer.from("[".repeat(10 * 2 ** 20)), { "content-type": "application/json" }],
      [Buffer.from(`{"x":[${"1,".repeat(5 * 2 ** 20 - 10)}1]}`), { "content-type": "application/json" }],
    ];
    for (const [body, headers] of forms) {
      for (const method of ["GetMeta", "SignCert"]) {
        // Refused before the body is read, the connection may be closed under the sender.
        const answer = await call(`/prpc/${method}`, body, headers).catch((error: NodeJS.ErrnoException) => error.code);
        if (typeof answer === "string" || answer === undefined) assert.match(String(answer), /EPIPE|ECONNRESET/);
        else assert.ok(answer.status === 400 || answer.status === 200, `${method}: ${answer.status}`);
      }
    }
    await Promise.all(
      Array.from({ length: 8 }, () =>
        call("/prpc/SignCert?json", Buffer.alloc(10 * 2 ** 20, 0x20)).catch(() => undefined),
      ),
    );
    assert.ok(await works());
    assert.ok((await rssMib()) < MAX_RSS_MIB, `${await rssMib()} MiB`);
  },
);

test("numbers, names and paths at their extremes are refused in words", { timeout: 600_000 }, async () => {
  const u64 = [
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1e400",
    "9007199254740993",
    '"18446744073709551615"',
  ];
  for (const number of u64) {
    for (const method of ["GetAppKey", "SignCert"]) {
      const { status, text } = await call(`/prpc/${method}?json`, `{"api_version":${number}}`);
      assert.equal(status, 400, text);
      assert.equal(typeof (JSON.parse(text) as { error: string }).error, "string");
    }
  }
  for (const path of [
    "/prpc/%",
    "/prpc/%00",
    "/prpc/KMS.KMS.KMS.",
    `/prpc/${"A".repeat(30_000)}`,
    "/prpc/__proto__?json",
    "/prpc/constructor?json",
    "/prpc/GetTempCaCert/x",
    "//nothing",
    "/prpc/GetAppKey?api_version=99999999999999999999",
    `/prpc/GetAppEnvEncryptPubKey?app_id=${"0x".repeat(20_000)}`,
    "/prpc/GetAppEnvEncryptPubKey?app_id=0",
  ]) {
    const { status } = await call(path);
    assert.ok([400, 404, 431].includes(status), `${path.slice(0, 60)}: ${status}`);
  }
  for (const raw of [
    "\0".repeat(100),
    "GET / HTTP/9.9\r\n\r\n",
    "POST /prpc/GetMeta HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(20_000)}`,
  ]) {
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    // A reset is as good an end as any, so no once(): it would throw it.
    await new Promise((resolve) =>
      socket
        .on("error", () => undefined)
        .on("close", resolve)
        .resume()
        .end(raw),
    );
  }
  assert.ok(await works());
});

test(
  "10,000 idle connections, and slow heads and bodies among them, keep nobody out and are ended",
  { timeout: 600_000 },
  async (context) => {
    // Both ends of each connection take a file descriptor; machines that allow fewer see fewer.
    const allowed = Number(/Max open files\s+(\d+)/.exec(await readFile("/proc/self/limits", "utf8"))?.[1]);
    const idle = Math.min(10_000, Math.floor((allowed - 600) / 200) * 200);
    if (idle < 10_000) context.diagnostic(`only ${idle} connections: this process may open ${allowed} files`);
    const sockets: Socket[] = [];
    let closed = 0;
    const add = (socket: Socket): Socket => {
      sockets.push(socket);
      socket
        .on("error", () => undefined)
        .once("close", () => closed++)
        .resume();
      return socket;
    };
    const slow = [
      "GET / HTTP/1.1\r\nhost: x\r\nx-slow: ",
      "POST /prpc/SignCert?json HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{",
    ];
    try {
      for (let i = 0; i < 200; i++) {
        const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
        socket.once("secureConnect", () => socket.write(slow[i % 2] ?? ""));
        add(socket);
      }
      for (let i = 0; i < idle; i += 200) {
        await Promise.all(Array.from({ length: 200 }, () => once(add(connect(port, "127.0.0.1")), "connect")));
        if (i % 2_000 === 0) assert.ok(await works(), `with ${i} idle connections`);
      }
      assert.ok(await works());
      const rss = await rssMib();
      context.diagnostic(`${Math.round(rss)} MiB with ${idle} idle connections made`);
      assert.ok(rss < MAX_RSS_MIB, `${rss} MiB`);
      // All but the slow bodies, which have longer.
      await until(() => closed >= sockets.length - 100);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    assert.ok(await works());
  },
);

test(
  "anonymous calls beyond the limit of an app are refused with the time to wait, and counted (#564)",
  { timeout: 600_000 },
  async () => {
    const ask = (app: string): Promise<Answer> => call(`/prpc/GetAppEnvEncryptPubKey?app_id=${app.repeat(20)}`);
    const answers: Answer[] = [];
    let refused: Answer[] = [];
    // A slow machine gives the limit time to fill up again.
    for (let i = 0; i < 100 && refused.length === 0; i++) {
      answers.push(...(await Promise.all(Array.from({ length: 10 }, () => ask("a1")))));
      refused = answers.filter(({ status }) => status !== 200);
    }
    assert.ok(refused.length > 0 && answers.length - refused.length >= 100, `${refused.length} of ${answers.length}`);
    for (const { status, text } of refused)
      assert.deepEqual([status, /too many calls for this app: try again in \d+ s/.test(text)], [400, true]);
    assert.equal((await ask("b2")).status, 200, "another app is not touched");
    assert.match((await call("/metrics")).text, /dstack_kms_rate_limited_requests_total\{by="app"\} [1-9]/);
  },
);

test("anonymous calls beyond the limit of an address are refused before their body, in the caller's form (#564)", async () => {
  const refusals: string[] = [];
  const limits = new AnonymousLimits({
    perAddress: 2,
    perApp: 0,
    clock: { now: () => 0 },
    onRefusal: (by) => refusals.push(by),
  });
  const server = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log: createLogger({ name: "test", stream: { write: () => true } }),
    guard: (exchange) => Promise.resolve(limits.admit(exchange)),
    routes: [
      { verbs: ["GET", "POST"], path: "/prpc/", handle: async ({ response }) => void response.end("passed") },
      { verbs: ["GET"], path: "/health", handle: async ({ response }) => void response.end("OK") },
    ],
  });
  try {
    const send = (method: string, json: boolean) =>
      fetch(`http://${server.address}/prpc/${method}${json ? "?json" : ""}`, {
        method: "POST",
        body: "x".repeat(1_000_000),
      });
    assert.deepEqual(
      [await (await send("KMS.GetMeta", true)).text(), await (await send("GetAppKey", true)).text()],
      ["passed", "passed"],
      "whatever is called is counted",
    );
    const refused = await send("GetMeta", true);
    assert.deepEqual(
      [refused.status, refused.headers.get("retry-after"), await refused.json()],
      [
        400,
        "30",
        {
          error: "too many calls from 127.0.0.1: try again in 30 s (core.rate_limit.per_address)",
          request_id: refused.headers.get("x-request-id"),
        },
      ],
    );
    assert.equal((await send("Nonsense", false)).headers.get("content-type"), "application/octet-stream");
    assert.equal(await (await fetch(`http://${server.address}/health`)).text(), "OK");
    assert.deepEqual(refusals, ["address", "address"]);
  } finally {
    await server.close();
  }
});

test("a call is counted before its evidence is looked at, and given back when it is answered: what is refused counts (#564)", async () => {
  const limits = new AnonymousLimits({ perAddress: 3, perApp: 0, clock: { now: () => 0 }, onRefusal: () => undefined });
  const log = createLogger({ name: "test", level: "silent" });
  let looked = 0;
  const handle = (_request: unknown, caller: Caller): Promise<object> =>
    caller.kind === "attested" ? Promise.resolve({}) : Promise.reject(new RpcError("bad-request", "not allowed"));
  const service = limits.limit({
    prefixes: ["KMS."],
    log,
    authenticate: (_rule, { query }) => {
      looked++;
      const shown = query.get("evidence");
      if (shown === "forged") return Promise.reject(new RpcError("unauthenticated", "invalid quote"));
      return Promise.resolve({ kind: shown === "good" ? "attested" : "anonymous" } as Caller);
    },
    routes: [
      route(kms.KMS.method.getAppKey, { auth: "attested" as const, handle }),
      route(kms.KMS.method.signCert, { auth: "none" as const, handle }),
      route(kms.KMS.method.getTempCaCert, { auth: "none" as const, handle }),
    ],
  });
  const server = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    log,
    guard: (exchange) => Promise.resolve(limits.admit(exchange)),
    mounts: [mount("/prpc/", service)],
  });
  try {
    const send = async (method: string, evidence: string): Promise<string> => {
      const answer = await fetch(`http://${server.address}/prpc/${method}?json&evidence=${evidence}`, {
        method: "POST",
        body: "{}",
      });
      return answer.status === 200 ? "answered" : ((await answer.json()) as { error: string }).error;
    };
    for (let i = 0; i < 10; i++) {
      assert.equal(await send("GetAppKey", "good"), "answered");
      assert.equal(await send("SignCert", "good"), "answered");
    }
    assert.equal(await send("GetTempCaCert", "good"), "answered", "asks for no evidence, so it counts");
    assert.match(await send("GetAppKey", "forged"), /^invalid quote/);
    assert.equal(await send("GetAppKey", "none"), "not allowed");
    looked = 0;
    assert.match(await send("GetAppKey", "forged"), /^too many calls from 127\.0\.0\.1/);
    assert.match(await send("SignCert", "good"), /^too many calls/);
    assert.equal(looked, 0, "nothing is verified for a call beyond the limit");
  } finally {
    await server.close();
  }
});

test("questions about an app are counted by address: a stranger does not lock its owner out (#564)", async () => {
  const limits = new AnonymousLimits({ perAddress: 0, perApp: 2, clock: { now: () => 0 }, onRefusal: () => undefined });
  const service = limits.limit({
    prefixes: [],
    log: createLogger({ name: "test", level: "silent" }),
    authenticate: () => Promise.resolve({ kind: "anonymous" }),
    routes: [
      route(kms.KMS.method.getAppEnvEncryptPubKey, { auth: "none" as const, handle: () => Promise.resolve({}) }),
    ],
  });
  const ask = async (remoteAddress: string, app: number): Promise<string> => {
    const call = { remoteAddress } as RpcCall;
    try {
      await service.routes[0]!.handle({ appId: new Uint8Array(20).fill(app) } as never, { kind: "anonymous" }, call);
      return "answered";
    } catch (error) {
      return (error as Error).message;
    }
  };
  for (const expected of [/^answered/, /^answered/, /^too many calls for this app/])
    assert.match(await ask("2001:db8::1", 1), expected);
  assert.match(await ask("2001:db8::2", 1), /^too many/, "an IPv6 caller is his /64");
  assert.equal(await ask("10.0.0.2", 1), "answered");
  assert.equal(await ask("2001:db8::1", 2), "answered");
});
