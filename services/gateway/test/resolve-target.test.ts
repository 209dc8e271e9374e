import { test } from "node:test";
import assert from "node:assert/strict";
import { generateWireGuardKeys, parseNetwork } from "@dstack/wireguard";
import { InstanceChooser } from "../src/proxy/instance-chooser.ts";
import { ProxyCounters } from "../src/proxy/proxy-counters.ts";
import { resolveTarget, type Resolution, type ResolverOptions } from "../src/proxy/resolve-target.ts";
import type { AppAddress } from "../src/proxy/app-address.ts";
import { OPEN_POLICY, portPolicy, type PortPolicy } from "../src/registration/port-policy.ts";
import { Registry } from "../src/registration/registry.ts";

function setUp(over: Partial<ResolverOptions> = {}, policy: PortPolicy | "unknown" = OPEN_POLICY) {
  const registry = new Registry({ ip: parseNetwork("10.0.0.1/24"), reserved: [], pool: parseNetwork("10.0.0.0/24") });
  const instance = registry.register(
    {
      appId: "app",
      instanceId: "one",
      composeHash: "",
      publicKey: generateWireGuardKeys().publicKey,
      portPolicy: policy === "unknown" ? undefined : policy,
    },
    1,
  );
  const handshakes = new Map<string, number>();
  const counters = new ProxyCounters();
  const chooser = new InstanceChooser({
    registry,
    latestHandshake: (key) => handshakes.get(key),
    now: Date.now,
    topN: 3,
    cacheMs: 0,
    staleMs: 60_000,
    random: () => 0,
  });
  const options: ResolverOptions = {
    registry,
    chooser,
    counters,
    policies: { fetch: async () => undefined },
    refreshHandshakes: async () => undefined,
    isSettling: () => false,
    now: Date.now,
    maxConnectionsPerApp: 2,
    connectTimeoutMs: 400,
    localhostBackend: false,
    ...over,
  };
  const heard = (): void => void handshakes.set(instance.publicKey, Date.now() / 1_000);
  const resolve = (address: Partial<AppAddress>): Promise<Resolution> =>
    resolveTarget({ id: "app", port: 80, mode: "terminate", ...address }, options);
  return { registry, instance, counters, heard, resolve };
}

const outcome = (resolution: Resolution): string => (resolution.kind === "refused" ? resolution.outcome : "backends");

test("a CVM that registered a moment ago is waited for, one that has long been silent is not", async () => {
  const fresh = setUp({ isSettling: () => true });
  setTimeout(fresh.heard, 150);
  assert.equal(outcome(await fresh.resolve({})), "backends");
  const silent = setUp();
  const started = Date.now();
  assert.equal(outcome(await silent.resolve({})), "no-healthy-instance");
  assert.ok(Date.now() - started < 100);
  const never = setUp({ isSettling: () => true });
  assert.equal(outcome(await never.resolve({})), "no-healthy-instance", "the wait is bounded");
});

test("an unknown policy denies, a learned one decides", async () => {
  let learn: () => void = () => undefined;
  const target = setUp({ policies: { fetch: async () => learn() } }, "unknown");
  target.heard();
  assert.equal(outcome(await target.resolve({})), "port-denied");
  learn = () => void target.registry.setPortPolicy("one", "", portPolicy(true, [{ port: 80, pp: true }]));
  assert.deepEqual(await target.resolve({}), {
    kind: "backends",
    backends: [{ host: "10.0.0.2", port: 80, instanceId: "one", proxyHeader: true }],
  });
  assert.equal(outcome(await target.resolve({ port: 81 })), "port-denied");
});

test("a policy that is asked for without an answer is not waited for longer than a connection", async () => {
  const target = setUp({ policies: { fetch: () => new Promise(() => undefined) } }, "unknown");
  target.heard();
  assert.equal(outcome(await target.resolve({})), "port-denied");
});

test("an app's open connections are limited", async () => {
  const target = setUp();
  target.heard();
  target.counters.begin("one");
  assert.equal(outcome(await target.resolve({})), "backends");
  target.counters.begin("one");
  assert.equal(outcome(await target.resolve({})), "over-limit");
  target.counters.end("one", 0, 0);
  assert.equal(outcome(await target.resolve({})), "backends");
});

test("localhost is an id only where the insecure switch is on", async () => {
  assert.equal(outcome(await setUp().resolve({ id: "localhost" })), "unknown-app");
  assert.equal(outcome(await setUp({ localhostBackend: true }).resolve({ id: "localhost" })), "backends");
});
