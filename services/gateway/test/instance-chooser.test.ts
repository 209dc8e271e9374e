import { test } from "node:test";
import assert from "node:assert/strict";
import { wireGuardKeyFromBytes, parseNetwork } from "@dstack/wireguard";
import { InstanceChooser, type ChooserOptions } from "../src/proxy/instance-chooser.ts";
import { Registry } from "../src/registration/registry.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface Step {
  readonly register?: string | string[];
  readonly remove?: string;
  readonly app?: string;
  readonly handshake_age_secs?: Record<string, number>;
  readonly select?: string;
  readonly expect?: string[];
  readonly expect_set?: string[];
  readonly error_contains?: string;
}

const NOW_MS = 1_700_000_000_000;

function setUp(over: Partial<ChooserOptions> = {}): {
  registry: Registry;
  chooser: InstanceChooser;
  ages: Map<string, number>;
  register: (name: string, app: string) => void;
} {
  const ages = new Map<string, number>();
  const registry: Registry = new Registry(
    { ip: parseNetwork("10.0.0.1/24"), reserved: [], pool: parseNetwork("10.0.0.0/24") },
    (app) => chooser.drop(app),
  );
  const nameOf = new Map<string, string>();
  const chooser = new InstanceChooser({
    registry,
    latestHandshake: (key) => {
      const age = ages.get(nameOf.get(key) ?? "");
      return age === undefined ? undefined : NOW_MS / 1_000 - age;
    },
    now: () => NOW_MS,
    topN: 3,
    cacheMs: 30_000,
    staleMs: 30 * 60_000,
    random: () => 0,
    ...over,
  });
  const register = (name: string, app: string): void => {
    const publicKey = wireGuardKeyFromBytes(new Uint8Array(32).fill(nameOf.size + 1));
    nameOf.set(publicKey, name);
    registry.register({ appId: app, instanceId: name, composeHash: "", publicKey, portPolicy: undefined }, 1);
  };
  return { registry, chooser, ages, register };
}

vectorTest("selects and caches as the vectors say", "gateway/top-n.json", ({ json }) => {
  const { steps } = json<{ steps: Step[] }>("gateway/top-n.json");
  const { registry, chooser, ages, register } = setUp();
  for (const step of steps) {
    for (const name of [step.register ?? []].flat()) register(name, step.app ?? "");
    if (step.remove !== undefined) registry.remove(step.remove);
    if (step.handshake_age_secs !== undefined) {
      ages.clear();
      for (const [name, age] of Object.entries(step.handshake_age_secs)) ages.set(name, age);
    }
    if (step.select === undefined) continue;
    const choice = chooser.choose(step.select);
    const ids = choice.kind === "instances" ? choice.instances.map((instance) => instance.instanceId) : undefined;
    if (step.error_contains !== undefined) assert.equal(choice.kind, "unknown");
    if (step.expect !== undefined) assert.deepEqual(ids, step.expect);
    if (step.expect_set !== undefined) assert.deepEqual(ids?.toSorted(), step.expect_set.toSorted());
  }
});

test("an app whose CVMs are all silent is unhealthy, not unknown, and that is not cached", () => {
  const { chooser, ages, register } = setUp();
  register("one", "app");
  assert.equal(chooser.choose("app").kind, "unhealthy");
  ages.set("one", 5);
  assert.equal(chooser.choose("app").kind, "instances");
});

test("with n = 0 one healthy instance is taken at random", () => {
  const { chooser, ages, register } = setUp({ topN: 0, random: () => 0.99 });
  for (const name of ["a", "b", "c"]) register(name, "app");
  ages.set("a", 1).set("b", 2);
  const choice = chooser.choose("app");
  assert.deepEqual(choice.kind === "instances" && choice.instances.map((instance) => instance.instanceId), ["b"]);
});

test("a handshake from the future counts as one of now", () => {
  const { chooser, ages, register } = setUp();
  register("one", "app");
  ages.set("one", -10_000);
  assert.equal(chooser.choose("app").kind, "instances");
});
