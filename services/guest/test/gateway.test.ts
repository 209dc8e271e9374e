import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createLogger } from "@dstack/log";
import { CHECKER } from "../src/gateway/gateway-checker.ts";
import { keepRegistered } from "../src/gateway/gateway.ts";
import type { GatewayClient } from "../src/gateway/gateway-registration.ts";

const log = createLogger({ name: "test", level: "silent" });

interface Run {
  readonly told: string[];
  /** When each attempt was made, in seconds, and whether it was forced. */
  readonly attempts: { readonly at: number; readonly force: boolean }[];
}

/** Ten minutes of a guest's life on a virtual clock; `answers` says at which second the gateway answers. */
async function live(
  answers: (second: number) => boolean,
  handshake: (second: number) => number | undefined,
): Promise<Run> {
  const stop = new AbortController();
  let second = 0;
  const run: Run = { told: [], attempts: [] };
  const client: GatewayClient = {
    register: async ({ force }) => {
      run.attempts.push({ at: second, force });
      if (!answers(second)) throw new Error("gateway is down");
    },
    latestHandshake: async () => handshake(second),
    close: async () => undefined,
  };
  await keepRegistered({
    client,
    degraded: () => run.told.push(`degraded at ${second}`),
    onRecovered: () => run.told.push(`recovered at ${second}`),
    log,
    signal: stop.signal,
    now: () => second,
    pause: async () => {
      second += CHECKER.poll;
      if (second > 600) stop.abort();
    },
  });
  return run;
}

describe("gateway registration", () => {
  it("that fails at boot is told once, tried again with growing pauses, and told to be over", async () => {
    const run = await live(
      (second) => second >= 200,
      (second) => (second >= 200 ? second : undefined),
    );
    assert.deepEqual(run.told, ["degraded at 0", "recovered at 210"]);
    assert.deepEqual(
      run.attempts.slice(0, 4).map(({ at }) => at),
      [0, 30, 90, 210],
    );
  });

  it("that holds is refreshed now and then, without force", async () => {
    const run = await live(
      () => true,
      (second) => second,
    );
    assert.deepEqual(run.told, []);
    assert.deepEqual(run.attempts, [{ at: 0, force: true }, ...[180, 360, 540].map((at) => ({ at, force: false }))]);
  });

  it("that went silent is forced anew, also when the gateway is down meanwhile", async () => {
    const run = await live(
      (second) => second < 100,
      (second) => Math.min(second, 100),
    );
    assert.ok(run.attempts.some(({ at, force }) => force && at > 100));
    assert.deepEqual(run.told, [], "the route was there at boot: the host is told nothing");
  });
});
