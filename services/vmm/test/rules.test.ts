import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { parseSize } from "@dstack/bytes";
import { FRESH, onExited, onRunning } from "../src/vm/auto-restart.ts";
import { networkingSchema } from "../src/config/config-schema.ts";
import { VmmError } from "../src/errors.ts";
import { createIdPool } from "../src/launch/id-pool.ts";
import { checkImageName, checkVmId, encodeManifest, parseManifest } from "../src/vm/manifest.ts";
import { macAddress, resolveNetwork } from "../src/launch/networks.ts";
import { checkPortsFree, portsConflict, resolvePorts } from "../src/launch/port-mapping.ts";
import { camelKeys } from "../src/config/camel-keys.ts";
import { checkAutoRestart } from "../src/config/check-config.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const refused = (code: string, text?: RegExp) => (error: unknown) =>
  error instanceof VmmError && error.code === code && (text === undefined || text.test(error.message));

vectorTest("gives out ids as the vectors say", "vmm/id_pool.json", ({ json }) => {
  const { cases, occupy_error_text: text } = json<{
    cases: { start: number; end: number; ops: [string, number?, string?][] }[];
    occupy_error_text: { start: number; end: number; id: number; text: string };
  }>("vmm/id_pool.json");
  for (const { start, end, ops } of cases) {
    const pool = createIdPool(start, end);
    for (const [operation, id = -1, outcome] of ops) {
      if (operation === "allocate") assert.equal(pool.allocate() ?? -1, id ?? -1);
      else if (operation === "free") pool.free(id);
      else if (operation === "clear") pool.clear();
      else if (outcome === "ok") pool.occupy(id);
      else assert.throws(() => pool.occupy(id), refused("conflict"));
    }
  }
  assert.throws(
    () => createIdPool(text.start, text.end).occupy(text.id),
    refused("conflict", /^id 13 outside pool range \[10, 13\)$/),
  );
});

vectorTest("restarts as the timelines of the vectors say", "vmm/auto_restart.json", ({ json }) => {
  const vector = json<{
    config: { max_retries: number; initial_backoff: number; max_backoff: number; reset_window: number };
    timelines: Record<string, unknown>[][];
    config_validation: {
      interval: number;
      initial_backoff: number;
      max_backoff: number;
      enabled: boolean;
      error: string | null;
    }[];
  }>("vmm/auto_restart.json");
  const policy = camelKeys(vector.config);
  for (const timeline of vector.timelines) {
    let state = FRESH;
    for (const step of timeline) {
      const now = step["t"] as number;
      if (step["see"] === "running") {
        const seen = onRunning(state, policy, now);
        state = seen.state;
        assert.equal(seen.reset, step["reset"]);
        continue;
      }
      const seen = onExited(state, policy, now);
      state = seen.state;
      const { decision } = seen;
      const got = {
        decision: decision.kind,
        ...(decision.kind === "scheduled"
          ? { delay: decision.delay }
          : decision.kind === "restart"
            ? { attempt: decision.attempt, next_delay: decision.nextDelay }
            : decision.kind === "exhausted"
              ? { attempts: decision.attempts }
              : {}),
      };
      const { t: _t, see: _see, ...expected } = step;
      assert.deepEqual(got, expected, `at ${now}`);
    }
  }
  for (const { error, ...config } of vector.config_validation) {
    const check = (): void => checkAutoRestart({ max_retries: 5, reset_window: 300, ...config });
    if (error === null) check();
    else assert.throws(check, refused("config-invalid", new RegExp(error)));
  }
});

vectorTest("derives MAC addresses as the vectors say", "vmm/derivations.json", ({ json }) => {
  for (const { vm_id, nic_index, mac_prefix, mac } of json<{
    mac: { vm_id: string; nic_index: number; mac_prefix: string; mac: string }[];
  }>("vmm/derivations.json").mac) {
    assert.equal(macAddress(vm_id, nic_index, mac_prefix), mac);
  }
});

vectorTest("reads sizes as the vectors say", "vmm/size_parse.json", ({ json }) => {
  const { ok, error } = json<{ ok: [string | number, number][]; error: string[] }>("vmm/size_parse.json");
  for (const [text, bytes] of ok) assert.equal(parseSize(text), BigInt(bytes));
  for (const text of [...error, "1KK"]) assert.throws(() => parseSize(text));
});

vectorTest("finds port conflicts as the vectors say", "vmm/port_conflicts.json", ({ json }) => {
  interface Mapping {
    protocol: "tcp" | "udp";
    host_address: string;
    host_port: number;
  }
  const { conflict, no_conflict } = json<{ conflict: [Mapping, Mapping][]; no_conflict: [Mapping, Mapping][] }>(
    "vmm/port_conflicts.json",
  );
  const of = (mapping: Mapping) => ({
    protocol: mapping.protocol,
    address: mapping.host_address,
    from: mapping.host_port,
    to: 1,
  });
  for (const [a, b] of conflict) assert.equal(portsConflict(of(a), of(b)), true);
  for (const [a, b] of no_conflict) assert.equal(portsConflict(of(a), of(b)), false);
});

const rules = { enabled: true, address: "127.0.0.1", range: [{ protocol: "tcp", from: 1, to: 20_000 }] } as const;
const mapping = { protocol: "tcp", hostPort: 8080, vmPort: 80, hostAddress: "" };

test("checks every part of a port mapping", () => {
  assert.deepEqual(resolvePorts([mapping], rules), [{ address: "127.0.0.1", protocol: "tcp", from: 8080, to: 80 }]);
  const bad: [Partial<typeof mapping>, RegExp][] = [
    [{ protocol: "sctp" }, /Invalid protocol/],
    [{ hostPort: 0 }, /Invalid host port/],
    [{ hostPort: 70_000 }, /Invalid host port/],
    [{ vmPort: 70_000 }, /Invalid vm port/],
    [{ hostPort: 20_001 }, /Port mapping is not allowed for tcp:20001/],
    [{ protocol: "udp" }, /Port mapping is not allowed for udp:8080/],
    [{ hostAddress: "localhost" }, /Invalid host address/],
    [{ hostAddress: "1.2.3.4,hostfwd=tcp::1-:1" }, /Invalid host address/],
  ];
  for (const [change, text] of bad)
    assert.throws(() => resolvePorts([{ ...mapping, ...change }], rules), refused("request-invalid", text));
  assert.throws(
    () => resolvePorts([mapping, { ...mapping, hostAddress: "0.0.0.0" }], rules),
    refused("request-invalid", /duplicate host port mapping/),
  );
  assert.throws(
    () => resolvePorts([mapping], { ...rules, enabled: false }),
    refused("request-invalid", /Port mapping is disabled/),
  );
  assert.deepEqual(resolvePorts([], { ...rules, enabled: false }), []);
});

test("sees that a host port is bound by another program", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await assert.rejects(
    checkPortsFree([{ address: "127.0.0.1", protocol: "tcp", from: port, to: 1 }]),
    refused("conflict", /in use on this host/),
  );
  await new Promise((resolve) => server.close(resolve));
  await checkPortsFree([{ address: "127.0.0.1", protocol: "tcp", from: port, to: 1 }]);
});

vectorTest("loads the manifests of every version, and writes what it read", "vmm/manifests", (set) => {
  for (const name of set.names("vmm/manifests")) {
    const text = set.text(`vmm/manifests/${name}`);
    const manifest = parseManifest(text);
    assert.deepEqual(parseManifest(encodeManifest(manifest)), manifest, name);
    assert.equal(manifest.networks.length, name.includes("two-nics") ? 2 : name.includes("bridge") ? 1 : 0);
  }
  const two = JSON.parse(encodeManifest(parseManifest(set.text("vmm/manifests/v0.6.0-two-nics.json")))) as Record<
    string,
    unknown
  >;
  assert.deepEqual(two["networking"], (two["networks"] as unknown[])[0]);
});

test("a cut manifest is refused with what is wrong", () => {
  assert.throws(() => parseManifest('{"id":"a","na'), refused("vm-broken", /not JSON/));
  assert.throws(() => parseManifest('{"id":"a"}'), refused("vm-broken", /name/));
});

test("ids and image names that are no plain folder names are refused", () => {
  for (const id of ["3f2504e0-4f89-41d3-9a0c-0305e82c3301", "vm_1-A"]) assert.equal(checkVmId(id), id);
  for (const id of ["", "..", "../../etc", "/etc/passwd", "a/b", "a\\b", "vm id", ".", "a\0", "café", "x".repeat(65)])
    assert.throws(() => checkVmId(id), refused("request-invalid"));
  for (const name of ["", ".", "..", ".hidden", "a..b", "a/b", "x".repeat(65)])
    assert.throws(() => checkImageName(name), refused("request-invalid"));
  assert.equal(checkImageName("dstack-0.6.0"), "dstack-0.6.0");
});

test("networks of a request are resolved or refused with the reason", () => {
  const node = networkingSchema.parse({});
  const user = { mode: "user", bridgeName: "" };
  assert.equal(resolveNetwork(user, node).net, "10.0.2.0/24");
  assert.equal(resolveNetwork({ mode: "passt", bridgeName: "" }, node).mode, "user");
  assert.equal(resolveNetwork({ mode: "bridge", bridgeName: "br7" }, node, () => true).bridge, "br7");
  const bad: [{ mode: string; bridgeName: string }, RegExp][] = [
    [{ mode: "", bridgeName: "" }, /networking mode is required/],
    [{ mode: "", bridgeName: "b" }, /required when bridge is set/],
    [{ mode: "custom", bridgeName: "" }, /custom networking mode is manifest-only/],
    [{ mode: "tap", bridgeName: "" }, /unsupported networking mode 'tap'/],
    [{ mode: "user", bridgeName: "b" }, /bridge_name is only valid/],
    [{ mode: "bridge", bridgeName: "" }, /no bridge is configured/],
    [{ mode: "bridge", bridgeName: "br,x=y" }, /does not exist/],
  ];
  for (const [network, text] of bad)
    assert.throws(() => resolveNetwork(network, node, () => true), refused("request-invalid", text));
});
