import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatIpv4, generateWireGuardKeys, parseIpv4 } from "@dstack/wireguard";
import { GatewayError } from "../src/errors.ts";
import type { Instance } from "../src/registration/instance.ts";
import { readLegacyState } from "../src/registration/legacy-state.ts";
import { portPolicy } from "../src/registration/port-policy.ts";
import { readState, writeState } from "../src/registration/state-file.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const UUID = "00112233445566778899aabbccddeeff";
const instance = (n: number): Instance => ({
  instanceId: `${n}`.padStart(40, "a"),
  appId: "b".repeat(40),
  address: parseIpv4(`10.0.0.${n}`),
  publicKey: generateWireGuardKeys().publicKey,
  composeHash: "cc".repeat(32),
  registeredAt: 1_700_000_000,
  portPolicy: n % 2 === 0 ? undefined : portPolicy(true, [{ port: 443, pp: true }]),
});

async function folder(t: { after: (fn: () => Promise<void>) => void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "dstack-gateway-state-"));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

test("what is written is read back, for its owner only", async (t) => {
  const path = join(await folder(t), "registrations.json");
  const state = { uuid: UUID, instances: [instance(1), instance(2)] };
  await writeState(path, state);
  assert.deepEqual(await readState(path), state);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test("no file is the first start; a damaged one is an error and never an empty state (SECURITY D5)", async (t) => {
  const path = join(await folder(t), "registrations.json");
  assert.equal(await readState(path), undefined);
  await writeState(path, { uuid: UUID, instances: [instance(1)] });
  const good = await readFile(path, "utf8");
  const damaged = [
    "",
    "{}",
    "[]",
    good.slice(0, -20),
    `${good}x`,
    good.replace('"version":1', '"version":2'),
    good.replace("10.0.0.1", "10.0.0.1/8"),
    good.replace(/"public_key":"[^"]*"/, '"public_key":"AAAA\\nEndpoint = 1.2.3.4:5"'),
    good.replace('"reg_time":1700000000', '"reg_time":-1'),
    good.replace(UUID, "x"),
    good.replace('"ports":', '"port_list":1,"ports":').replace('"instance_id"', '"unknown":1,"instance_id"'),
  ];
  for (const text of damaged) {
    await writeFile(path, text);
    await assert.rejects(
      readState(path),
      (error) => error instanceof GatewayError && error.code === "state-unreadable",
      text.slice(0, 60),
    );
  }
});

vectorTest(
  "the state of 0.5.5 is read as it was, entries that cannot be used are named",
  "gateway/gateway-state-0.5.5.json",
  async ({ root }, t) => {
    const source = join(root, "gateway/gateway-state-0.5.5.json");
    const state = await readLegacyState(source, 1_800_000_000);
    assert.deepEqual(
      state?.instances.map((row) => [row.instanceId, row.appId, formatIpv4(row.address), row.registeredAt]),
      [["i1", "aabb", "10.4.0.32", 1_700_000_000]],
    );
    const value = JSON.parse(await readFile(source, "utf8")) as { instances: Record<string, Record<string, unknown>> };
    const good = value.instances["i1"] ?? {};
    value.instances = {
      i1: good,
      i2: { ...good, id: "i2", public_key: "bad" },
      i3: { ...good, id: "i3", ip: "nowhere" },
      i4: { ...good, id: "i4", reg_time: { secs_since_epoch: 9e15 } },
      i5: good,
    };
    const path = join(await folder(t), "gateway-state.json");
    await writeFile(path, JSON.stringify(value));
    const mixed = await readLegacyState(path, 1_800_000_000);
    assert.deepEqual(mixed?.skipped, ["i2", "i3", "i4", "i5"]);
    assert.equal(mixed?.instances.length, 1);
  },
);

test("a record dated in the future does not outrank real ones (SECURITY D5)", async (t) => {
  const path = join(await folder(t), "gateway-state.json");
  const row = {
    id: "i1",
    app_id: "a",
    ip: "10.4.0.32",
    public_key: generateWireGuardKeys().publicKey,
    reg_time: { secs_since_epoch: 1_800_000_000 + 31_536_000 },
  };
  await writeFile(path, JSON.stringify({ instances: { i1: row } }));
  assert.deepEqual((await readLegacyState(path, 1_800_000_000))?.skipped, ["i1"]);
});
