import { test, type TestContext } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { run, terminate } from "@dstack/process";
import { generateWireGuardKeys, openWireGuard, parseNetwork, WireGuardError, type Peer } from "../src/index.ts";

const NAME = `dswg${process.pid % 100_000}`;

function impossible(t: TestContext): boolean {
  const why = process.getuid?.() === 0 ? (existsSync("/dev/net/tun") ? undefined : "no /dev/net/tun") : "not root";
  if (why !== undefined) t.skip(`WireGuard devices cannot be made here: ${why}`);
  return why !== undefined;
}

const exists = async (name: string): Promise<boolean> =>
  (await run("ip", ["link", "show", "dev", name], { okCodes: [0, 1] })).code === 0;

function peer(n: number): Peer {
  return {
    publicKey: generateWireGuardKeys().publicKey,
    allowedIps: [parseNetwork(`10.213.0.${n}/32`)],
    endpoint: { host: "127.0.0.1", port: 40_000 + n },
    keepaliveSeconds: 0,
  };
}

test("a device takes peers, changes them one by one, and is gone after close", { timeout: 60_000 }, async (t) => {
  if (impossible(t)) return;
  const device = await openWireGuard({ name: NAME, address: parseNetwork("10.213.0.1/24") });
  try {
    const { privateKey } = generateWireGuardKeys();
    const [a, b, c] = [peer(2), peer(3), peer(4)];
    await device.apply({ privateKey, listenPort: 0, peers: [a, b] });
    await device.apply({ privateKey, listenPort: 0, peers: [b, c] });
    const keys = (await device.peers()).map((state) => state.publicKey).sort();
    assert.deepEqual(keys, [b.publicKey, c.publicKey].sort());
    assert.equal((await device.peers()).find((state) => state.publicKey === c.publicKey)?.endpoint?.port, 40_004);
  } finally {
    await device.close();
  }
  assert.equal(await exists(NAME), false);
  assert.equal(existsSync(`/var/run/wireguard/${NAME}.sock`), false);
});

test("what a killed run left behind is replaced", { timeout: 60_000 }, async (t) => {
  if (impossible(t)) return;
  const holder = spawn(process.execPath, [fileURLToPath(new URL("./hold-device.ts", import.meta.url)), NAME], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  assert.equal(await exists(NAME), true);
  holder.kill("SIGKILL");
  await once(holder, "exit");
  assert.equal(await exists(NAME), true, "the device outlives its killed owner");
  const device = await openWireGuard({ name: NAME, address: parseNetwork("10.213.0.1/24") });
  assert.equal((await device.peers()).length, 0);
  await device.close();
  assert.equal(await exists(NAME), false);
});

test("a device of another kind under the configured name is refused and left alone", { timeout: 60_000 }, async (t) => {
  if (impossible(t)) return;
  await run("ip", ["link", "add", "dev", NAME, "type", "bridge"]);
  try {
    await assert.rejects(
      openWireGuard({ name: NAME, address: parseNetwork("10.213.0.1/24") }),
      (error) => error instanceof WireGuardError && /kind bridge/.test(error.message),
    );
    assert.equal(await exists(NAME), true);
  } finally {
    await run("ip", ["link", "delete", "dev", NAME]);
  }
});

test("an owner is told when wireguard-go ends by itself", { timeout: 60_000 }, async (t) => {
  if (impossible(t)) return;
  const lost = Promise.withResolvers<WireGuardError>();
  const device = await openWireGuard({
    name: NAME,
    address: parseNetwork("10.213.0.1/24"),
    backend: "userspace",
    onLost: lost.resolve,
  });
  const pid = (await run("pgrep", ["-f", `^wireguard-go -f ${NAME}$`])).stdout.trim();
  await terminate(Number(pid));
  assert.equal((await lost.promise).code, "interface-failed");
  await device.close();
});

test("a UDP port that is taken is said to be", { timeout: 60_000 }, async (t) => {
  if (impossible(t)) return;
  const holder = createSocket("udp4");
  holder.bind(0);
  await once(holder, "listening");
  const device = await openWireGuard({ name: NAME, address: parseNetwork("10.213.0.1/24") });
  try {
    const { privateKey } = generateWireGuardKeys();
    await assert.rejects(
      device.apply({ privateKey, listenPort: holder.address().port, peers: [] }),
      (error) => error instanceof WireGuardError && error.code === "device-refused" && /in use/i.test(error.message),
    );
    await device.apply({ privateKey, listenPort: 0, peers: [peer(2)] });
    assert.equal((await device.peers()).length, 1, "it works again once the port is another");
  } finally {
    await device.close();
    holder.close();
  }
});

test("names that are no device names are refused before any program runs", async () => {
  for (const name of ["", "-h", "a b", "x".repeat(16), "../x", "a/b", "é"]) {
    await assert.rejects(
      openWireGuard({ name, address: parseNetwork("10.213.0.1/24") }),
      (error) => error instanceof WireGuardError && error.code === "interface-invalid",
    );
  }
});
