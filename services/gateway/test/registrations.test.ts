import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatIpv4, generateWireGuardKeys, parseNetwork } from "@dstack/wireguard";
import { GatewayError } from "../src/errors.ts";
import { Registrations } from "../src/registration/registrations.ts";
import { readState } from "../src/registration/state-file.ts";
import { memoryLog } from "./support/log.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

type Cleaning = { after: (fn: () => Promise<void>) => void };

async function folder(t: Cleaning): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "dstack-gateway-registrations-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function open(
  dataDir: string,
  applyTunnel: () => Promise<void> = async () => undefined,
  network = "10.44.0.1/16",
  legacyPath = join(dataDir, "none.json"),
): Promise<Registrations> {
  const pool = {
    ip: parseNetwork(network),
    reserved: [parseNetwork(network.replace("/16", "/32"))],
    pool: parseNetwork(network.replace("/16", "/18")),
  };
  return Registrations.open({
    dataDir,
    legacyPath,
    pool,
    onMembership: () => undefined,
    applyTunnel,
    now: () => 1_800_000_000_000,
    log: memoryLog().log,
  });
}

const request = (n: number) => ({
  appId: "a".repeat(40),
  instanceId: n.toString(16).padStart(40, "0"),
  composeHash: "",
  publicKey: generateWireGuardKeys().publicKey as string,
  portPolicy: undefined,
});

test("a hundred registrations at once are few writes, and a restart keeps every address (DS #1258)", async (t) => {
  const dataDir = await folder(t);
  let applied = 0;
  const first = await open(dataDir, async () => void (applied += 1));
  const instances = await Promise.all(Array.from({ length: 100 }, (_, n) => first.register(request(n))));
  assert.ok(applied <= 3, `${applied} batches`);
  assert.equal(new Set(instances.map((instance) => instance.address)).size, 100);
  const second = await open(dataDir);
  assert.equal(second.uuid, first.uuid);
  for (const instance of instances) assert.deepEqual(second.registry.get(instance.instanceId), instance);
  assert.equal(formatIpv4((await second.register(request(100))).address), "10.44.0.102");
});

test("a registration is answered only once it is on disk", async (t) => {
  const dataDir = await folder(t);
  const registrations = await open(dataDir);
  const instance = await registrations.register(request(1));
  assert.deepEqual((await readState(join(dataDir, "registrations.json")))?.instances, [instance]);
});

test("a registration that cannot be stored is an error, and works once the disk does", async (t) => {
  const dataDir = await folder(t);
  const registrations = await open(dataDir);
  await rm(dataDir, { recursive: true });
  await assert.rejects(
    registrations.register(request(1)),
    (error) => error instanceof GatewayError && error.code === "state-unwritable",
  );
  await mkdir(dataDir);
  await registrations.register(request(1));
  assert.equal((await readState(join(dataDir, "registrations.json")))?.instances.length, 1);
});

test("stored addresses outside a changed network are left out, and their CVMs get new ones", async (t) => {
  const dataDir = await folder(t);
  const old = await (await open(dataDir)).register(request(1));
  const moved = await open(dataDir, undefined, "10.99.0.1/16");
  assert.equal(moved.registry.size, 0);
  assert.equal(formatIpv4((await moved.register({ ...request(1), publicKey: old.publicKey })).address), "10.99.0.2");
});

vectorTest(
  "the state of 0.5.5 is imported at the first start and never again",
  "gateway/gateway-state-0.5.5.json",
  async ({ root }, t) => {
    const legacy = join(root, "gateway/gateway-state-0.5.5.json");
    const dataDir = await folder(t);
    const first = await open(dataDir, undefined, "10.4.0.1/16", legacy);
    assert.equal(formatIpv4(first.registry.get("i1")?.address ?? 0), "10.4.0.32");
    first.registry.remove("i1");
    await first.register(request(1));
    assert.equal((await open(dataDir, undefined, "10.4.0.1/16", legacy)).registry.get("i1"), undefined);
  },
);
