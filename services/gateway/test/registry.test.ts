import { test } from "node:test";
import assert from "node:assert/strict";
import { errorChain } from "@dstack/errors";
import { formatIpv4, generateWireGuardKeys, parseIpv4, parseNetwork } from "@dstack/wireguard";
import { GatewayError } from "../src/errors.ts";
import { OPEN_POLICY, portPolicy } from "../src/registration/port-policy.ts";
import { Registry, type RegistrationRequest } from "../src/registration/registry.ts";

const POOL = {
  ip: parseNetwork("10.44.0.1/24"),
  reserved: [parseNetwork("10.44.0.1/32")],
  pool: parseNetwork("10.44.0.0/29"),
};
const id = (n: number): string => n.toString(16).padStart(40, "0");
const request = (n: number, over: Partial<RegistrationRequest> = {}): RegistrationRequest => ({
  appId: id(100),
  instanceId: id(n),
  composeHash: "aa".repeat(32),
  publicKey: generateWireGuardKeys().publicKey,
  portPolicy: undefined,
  ...over,
});
const refusal =
  (text: string) =>
  (error: unknown): boolean =>
    error instanceof GatewayError && errorChain(error).includes(text);

test("an instance keeps its address through key changes, and others get the next ones", () => {
  const registry = new Registry(POOL);
  assert.equal(formatIpv4(registry.register(request(1), 10).address), "10.44.0.2");
  assert.equal(formatIpv4(registry.register(request(2), 10).address), "10.44.0.3");
  const again = registry.register(request(1), 20);
  assert.equal(formatIpv4(again.address), "10.44.0.2");
  assert.equal(again.registeredAt, 20);
  assert.equal(registry.size, 2);
});

test("registering the same key again leaves the time of registration", () => {
  const registry = new Registry(POOL);
  const first = request(1);
  registry.register(first, 10);
  assert.equal(registry.register(first, 20).registeredAt, 10);
});

test("a key of another instance is refused and moves nothing (registration identity collision)", () => {
  const registry = new Registry(POOL);
  const first = request(1);
  registry.register(first, 10);
  assert.throws(
    () => registry.register(request(2, { publicKey: first.publicKey }), 10),
    refusal("already registered to another instance"),
  );
  assert.equal(registry.get(id(1))?.publicKey, first.publicKey);
  assert.equal(registry.size, 1);
});

test("an instance id of another app is refused (registration identity collision)", () => {
  const registry = new Registry(POOL);
  registry.register(request(1), 10);
  assert.throws(
    () => registry.register(request(1, { appId: id(200) }), 10),
    refusal("already registered to a different app"),
  );
});

test("a freed key can be used by another instance", () => {
  const registry = new Registry(POOL);
  const first = request(1);
  registry.register(first, 10);
  registry.register(request(1), 11);
  assert.equal(registry.register(request(2, { publicKey: first.publicKey }), 12).instanceId, id(2));
});

test("keys that are not 32 bytes of base64 are refused, embedded lines above all (SECURITY D5)", () => {
  const registry = new Registry(POOL);
  for (const publicKey of ["", "AQID", `${generateWireGuardKeys().publicKey}\nEndpoint = 203.0.113.1:1`]) {
    assert.throws(() => registry.register(request(1, { publicKey }), 1), refusal("invalid client public key"));
  }
  assert.equal(registry.size, 0);
});

test("empty ids are refused with the texts that CVMs know", () => {
  const registry = new Registry(POOL);
  assert.throws(() => registry.register(request(1, { appId: "" }), 1), refusal("app id is empty"));
  assert.throws(() => registry.register(request(1, { instanceId: "" }), 1), refusal("instance id is empty"));
});

test("a full pool is said to be full, and a removal makes room", () => {
  const registry = new Registry(POOL);
  for (let n = 1; n <= 6; n++) registry.register(request(n), 1);
  assert.throws(() => registry.register(request(7), 1), refusal("IP pool exhausted"));
  registry.remove(id(3));
  assert.equal(formatIpv4(registry.register(request(7), 1).address), "10.44.0.4");
});

test("a changed compose hash forgets a learned policy, a reported one replaces it", () => {
  const registry = new Registry(POOL);
  const first = request(1);
  registry.register(first, 1);
  assert.equal(registry.setPortPolicy(id(1), first.composeHash, OPEN_POLICY), true);
  assert.equal(registry.register(first, 2).portPolicy, OPEN_POLICY);
  assert.equal(registry.register({ ...first, composeHash: "bb" }, 3).portPolicy, undefined);
  assert.equal(
    registry.setPortPolicy(id(1), first.composeHash, OPEN_POLICY),
    false,
    "the answer about the old compose comes too late",
  );
  const reported = portPolicy(true, [{ port: 80, pp: false }]);
  assert.equal(registry.register({ ...first, portPolicy: reported }, 4).portPolicy, reported);
});

test("stored instances that claim the gateway's address, a reserved one or another's are left out (SECURITY D5)", () => {
  const registry = new Registry({ ...POOL, pool: POOL.ip });
  const stored = (n: number, ip: string) => ({
    instanceId: id(n),
    appId: id(100),
    address: parseIpv4(ip),
    publicKey: generateWireGuardKeys().publicKey,
    composeHash: "",
    registeredAt: 1,
    portPolicy: undefined,
  });
  const first = stored(1, "10.44.0.9");
  assert.equal(registry.restore(first), undefined);
  for (const [row, why] of [
    [stored(2, "10.44.0.1"), /hands out/],
    [stored(3, "10.44.0.255"), /hands out/],
    [stored(4, "10.45.0.2"), /hands out/],
    [stored(5, "10.44.0.9"), /address .* twice/],
    [{ ...stored(6, "10.44.0.10"), publicKey: first.publicKey }, /key .* twice/],
  ] as const) {
    assert.match(registry.restore(row) ?? "", why);
  }
  assert.equal(registry.size, 1);
});
