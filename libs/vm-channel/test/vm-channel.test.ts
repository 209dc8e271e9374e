import assert from "node:assert/strict";
import { duplexPair, type Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createLogger } from "@dstack/log";
import {
  ChannelError,
  createVmChannel,
  MAX_FRAME_BYTES,
  type ChannelHandler,
  type StreamChannel,
} from "@dstack/vm-channel";

const log = createLogger({ name: "test", level: "error" });
const echo: ChannelHandler = async (path, json) => ({ status: 200, json: { path, json } });

function pair(handle: ChannelHandler = echo): { channel: StreamChannel; peer: Duplex; lines: string[] } {
  const [a, peer] = duplexPair();
  const lines: string[] = [];
  peer.setEncoding("utf8");
  let rest = "";
  peer.on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts.filter((line) => line !== ""));
  });
  return { channel: createVmChannel(a, { handle, log }), peer, lines };
}

async function until<T>(get: () => T | undefined): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const value = get();
    if (value !== undefined) return value;
    await sleep(5);
  }
  throw new Error("never became true");
}

const failsWith = (code: string) => (error: unknown) => error instanceof ChannelError && error.code === code;

test("both sides ask and both get their answers", async () => {
  const [a, b] = duplexPair();
  const left = createVmChannel(a, { handle: async () => ({ status: 200, json: "from left" }), log });
  const right = createVmChannel(b, { handle: echo, log });
  const [one, two] = await Promise.all([left.request("/api/Info", { x: 1 }), right.request("/api/Info", null)]);
  assert.deepEqual(one, { status: 200, json: { path: "/api/Info", json: { x: 1 } } });
  assert.deepEqual(two, { status: 200, json: "from left" });
});

test("a handler's error becomes status 400 with its text", async () => {
  const [a, b] = duplexPair();
  const left = createVmChannel(a, { handle: echo, log });
  createVmChannel(b, {
    log,
    handle: async () => {
      throw new Error("no such event");
    },
  });
  assert.deepEqual(await left.request("/x", null), { status: 400, json: { error: "no such event" } });
});

test("garbage, half lines and a line of 2 MB cost only themselves", async () => {
  const { peer, lines } = pair();
  peer.write('tail of an older line"}}\n');
  peer.write("\x00\xff\xfe\n[1,2]\nnull\n{}\n");
  peer.write(`${"x".repeat(2 * MAX_FRAME_BYTES)}\n`);
  peer.write('{"v":2,"kind":"request","id":5,"path":"/other-version","json":null}\n');
  peer.write('{"v":1,"kind":"request","id":-1,"path":"/negative","json":null}\n');
  peer.write('{"v":1,"kind":"request","id":7,');
  await sleep(10);
  peer.write('"path":"/api/Info","json":3}\n');
  const line = await until(() => lines[0]);
  assert.deepEqual(JSON.parse(line), {
    v: 1,
    kind: "response",
    id: 7,
    status: 200,
    json: { path: "/api/Info", json: 3 },
  });
  assert.equal(lines.length, 1);
});

test("a silent peer runs into the deadline, and its late answer is ignored", async () => {
  const { channel, peer, lines } = pair();
  await assert.rejects(channel.request("/api/Info", null, { timeoutMs: 20 }), failsWith("timed-out"));
  const { id } = JSON.parse(await until(() => lines[0])) as { id: number };
  peer.write(`${JSON.stringify({ v: 1, kind: "response", id, status: 200, json: 1 })}\n`);
  await sleep(10);
  assert.equal(channel.connected, true);
});

test("an answer to a request of an earlier process matches nothing", async () => {
  const { channel, peer } = pair();
  const asked = channel.request("/api/Info", null, { timeoutMs: 60 });
  for (let id = 0; id < 10; id++)
    peer.write(`${JSON.stringify({ v: 1, kind: "response", id, status: 200, json: "stale" })}\n`);
  await assert.rejects(asked, failsWith("timed-out"));
});

test("an abort and a lost stream end open requests at once", async () => {
  const { channel, peer } = pair();
  const stop = new AbortController();
  const first = channel.request("/a", null, { signal: stop.signal });
  const second = channel.request("/b", null);
  stop.abort();
  await assert.rejects(first, failsWith("aborted"));
  peer.destroy();
  channel.close();
  await assert.rejects(second, failsWith("closed"));
  await channel.ended;
  await assert.rejects(channel.request("/c", null), failsWith("closed"));
});

test("a frame that is too long is refused on the sending side", async () => {
  const { channel } = pair();
  await assert.rejects(channel.request("/a", "x".repeat(MAX_FRAME_BYTES)), failsWith("frame-too-long"));
});

test("an answer that is too long becomes an error answer", async () => {
  const { peer, lines } = pair(async () => ({ status: 200, json: "x".repeat(MAX_FRAME_BYTES) }));
  peer.write('{"v":1,"kind":"request","id":1,"path":"/big","json":null}\n');
  assert.equal((JSON.parse(await until(() => lines[0])) as { status: number }).status, 500);
});

test("a peer that never reads fills a bounded queue only", async () => {
  const [a] = duplexPair();
  const channel = createVmChannel(a, { handle: echo, log, maxQueuedBytes: 100_000 });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, () => channel.request("/a", "x".repeat(20_000), { timeoutMs: 50 })),
  );
  assert.ok(outcomes.some((outcome) => outcome.status === "rejected" && failsWith("queue-full")(outcome.reason)));
  assert.ok(a.writableLength <= 100_000);
});

test("more requests at once than allowed are answered with 503", async () => {
  const [a, b] = duplexPair();
  const asking = createVmChannel(a, { handle: echo, log });
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  createVmChannel(b, { log, maxConcurrent: 2, handle: () => gate.then(() => ({ status: 200, json: null })) });
  const all = Promise.all([1, 2, 3].map(() => asking.request("/slow", null)));
  await sleep(20);
  release();
  assert.deepEqual((await all).map((answer) => answer.status).sort(), [200, 200, 503]);
});
