import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { hostApi } from "@dstack/proto";
import { createLogger } from "@dstack/log";
import { callRpc, route, type RpcService } from "@dstack/rpc";
import {
  ChannelError,
  channelHandler,
  channelTransport,
  createVmChannel,
  findGuestPort,
  openGuestPort,
  openHostChannel,
  type StreamChannel,
} from "@dstack/vm-channel";

const log = createLogger({ name: "test", level: "error" });

test("the host's end comes back after the VM's socket was away", async () => {
  const socketPath = join(mkdtempSync(join(tmpdir(), "dstack-channel-")), "channel.sock");
  const host = openHostChannel({
    socketPath,
    handle: async () => ({ status: 200, json: "host" }),
    log,
    maxPauseMs: 50,
  });
  await assert.rejects(
    host.request("/api/Info", null),
    (error: unknown) => error instanceof ChannelError && error.code === "not-connected",
  );
  for (let round = 0; round < 2; round++) {
    let guest: StreamChannel | undefined;
    const server = createServer((socket: Socket) => {
      guest = createVmChannel(socket, { handle: async () => ({ status: 200, json: `guest ${round}` }), log });
    });
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    for (let i = 0; i < 100 && !host.connected; i++) await sleep(20);
    assert.deepEqual(await host.request("/api/Info", null), { status: 200, json: `guest ${round}` });
    assert.deepEqual(await guest!.request("/api/Info", null), { status: 200, json: "host" });
    guest!.close();
    await new Promise((resolve) => server.close(resolve));
    rmSync(socketPath, { force: true });
    for (let i = 0; i < 100 && host.connected; i++) await sleep(20);
    assert.equal(host.connected, false);
  }
  host.close();
});

test("a typed call goes over the channel, and an unknown path and method are refused", async () => {
  const directory = mkdtempSync(join(tmpdir(), "dstack-channel-"));
  const socketPath = join(directory, "channel.sock");
  const service: RpcService<null, "none"> = {
    prefixes: ["HostApi."],
    routes: [
      route(hostApi.HostApi.method.info, {
        auth: "none",
        handle: async () => ({ name: "dstack VMM", version: "0.6.0" }),
      }),
    ],
    authenticate: async () => null,
    log: createLogger({ name: "test", level: "silent" }),
  };
  const server = createServer(
    (socket) => void createVmChannel(socket, { handle: channelHandler(service, "/api"), log }),
  );
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const channel = openHostChannel({ socketPath, handle: async () => ({ status: 404, json: null }), log });
  for (let i = 0; i < 100 && !channel.connected; i++) await sleep(20);
  const answer = await callRpc(channelTransport(channel, "/api"), hostApi.HostApi.method.info, {});
  assert.equal(answer.name, "dstack VMM");
  assert.equal((await channel.request("/api/HostApi.Info", {})).status, 200);
  assert.equal((await channel.request("/api/Nothing", {})).status, 400);
  assert.equal((await channel.request("/elsewhere/Info", {})).status, 404);
  await assert.rejects(
    callRpc(channelTransport(channel, "/api"), hostApi.HostApi.method.notify, { event: "x" }),
    /Notify/,
  );
  channel.close();
  server.close();
});

test("a guest port is found by its name, and a missing one is said so after the deadline", async () => {
  const root = mkdtempSync(join(tmpdir(), "dstack-port-"));
  mkdirSync(join(root, "sys/vport0p1"), { recursive: true });
  writeFileSync(join(root, "sys/vport0p1/name"), "org.dstack.host.0\n");
  const options = { sysRoot: join(root, "sys"), devRoot: join(root, "dev"), timeoutMs: 10 };
  assert.equal(findGuestPort("org.dstack.host.0", options), join(root, "dev/vport0p1"));
  await assert.rejects(
    openGuestPort("org.other", options),
    (error: unknown) => error instanceof ChannelError && error.code === "port-missing",
  );
});

test("the guest's stream lasts through end-of-file, as a port gives while no host is connected", async () => {
  // A FIFO opened for both directions without blocking behaves like the port: EAGAIN when empty.
  const root = mkdtempSync(join(tmpdir(), "dstack-port-"));
  mkdirSync(join(root, "sys/vport0p1"), { recursive: true });
  mkdirSync(join(root, "dev"));
  writeFileSync(join(root, "sys/vport0p1/name"), "org.dstack.host.0\n");
  execFileSync("mkfifo", [join(root, "fifo")]);
  symlinkSync(join(root, "fifo"), join(root, "dev/vport0p1"));
  const stream = await openGuestPort("org.dstack.host.0", { sysRoot: join(root, "sys"), devRoot: join(root, "dev") });
  const got: string[] = [];
  stream.on("data", (chunk: Buffer) => got.push(chunk.toString()));
  await sleep(60);
  assert.equal(stream.destroyed, false);
  stream.write("one\n"); // A FIFO gives back what was written.
  for (let i = 0; i < 50 && got.length === 0; i++) await sleep(10);
  assert.equal(got.join(""), "one\n");
  // More than a FIFO holds: written in parts as it is read.
  const big = "x".repeat(300_000);
  stream.write(big);
  for (let i = 0; i < 200 && got.join("").length < 300_004; i++) await sleep(10);
  assert.equal(got.join("").length, 300_004);
  stream.destroy();
});
