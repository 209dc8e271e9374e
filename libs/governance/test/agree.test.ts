import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { mock, test } from "node:test";
import { agree, type Agreed, type Hearing } from "../src/chain/agree.ts";
import type { Endpoint } from "../src/chain/endpoint.ts";
import { GovernanceError } from "../src/index.ts";

interface Script {
  readonly height: bigint | "refused" | "silent";
  readonly lookMs?: number;
  /** What it shows from its second answer on. */
  readonly later?: bigint;
  readonly tellMs?: number;
  /** Blocks above it are lacked; without it, those above its height. */
  readonly head?: bigint;
  readonly lie?: string;
  readonly refuses?: bigint;
}

const REVOKED_AT = 999n;
const DEADLINE_MS = 5_000;

/** Runs a hearing on a clock of its own, and gives how it ended and when. */
async function hear(
  scripts: readonly Script[],
  floor?: bigint,
): Promise<{ readonly outcome: Agreed<string> | GovernanceError; readonly ms: number }> {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    const endpoints = scripts.map((_, index) => ({ name: `http://endpoint-${index}` }) as Endpoint);
    const looked = new Set<Endpoint>();
    const of = (endpoint: Endpoint): Script => scripts[endpoints.indexOf(endpoint)]!;
    const hearing: Hearing<string> = {
      endpoints,
      quorum: Math.floor(scripts.length / 2) + 1,
      floor: floor === undefined ? undefined : { chainId: 1, height: floor },
      deadlineMs: DEADLINE_MS,
      look: async (endpoint) => {
        const { height, lookMs, later } = of(endpoint);
        if (lookMs !== undefined) await sleep(lookMs);
        if (height === "silent") return new Promise(() => {});
        if (height === "refused") throw new Error("too many requests");
        const isFirst = !looked.has(endpoint);
        looked.add(endpoint);
        return { endpoint, chainId: 1, height: isFirst ? height : (later ?? height) };
      },
      tell: async (endpoint, block) => {
        const { height, head = height, tellMs, lie, refuses } = of(endpoint);
        if (tellMs !== undefined) await sleep(tellMs);
        if (block > (head as bigint) || block === refuses) throw new Error("header not found");
        return { hash: `0x${block}`, value: lie ?? (block < REVOKED_AT ? "allowed" : "denied") };
      },
    };
    const ended: (Agreed<string> | GovernanceError)[] = [];
    void agree(hearing).then(
      (agreed) => ended.push(agreed),
      (error: GovernanceError) => ended.push(error),
    );
    let ms = 0;
    for (await turn(); ended.length === 0; ms += 50) {
      mock.timers.tick(50);
      await turn();
    }
    return { outcome: ended[0]!, ms };
  } finally {
    mock.timers.reset();
  }
}

async function decided(scripts: readonly Script[], floor?: bigint): Promise<readonly [string, bigint]> {
  const { outcome } = await hear(scripts, floor);
  if (outcome instanceof Error) throw outcome;
  return [outcome.value, outcome.height];
}

async function refusedAs(code: string, text: RegExp, scripts: readonly Script[], floor?: bigint): Promise<number> {
  const { outcome, ms } = await hear(scripts, floor);
  assert.ok(
    outcome instanceof GovernanceError,
    JSON.stringify(scripts, (_, part: unknown) => String(part)),
  );
  assert.equal(outcome.code, code, outcome.message);
  assert.match(outcome.message, text);
  return ms;
}

const OLD: Script = { height: 10n, head: 10n };
const NEW: Script = { height: 1_000n };

test("an endpoint that shows an old block and an honest one that is slow undo no revocation (DS #115)", async () => {
  for (const ms of [300, 700, 2_000, 4_900])
    for (const slow of [{ lookMs: ms }, { tellMs: ms }])
      for (const floor of [undefined, 10n, 900n, 1_000n])
        assert.deepEqual(await decided([NEW, { ...NEW, ...slow }, OLD], floor), ["denied", 1_000n], `${ms} ms`);
});

test("of five, two that show old blocks and a slow honest one undo no revocation", async () => {
  for (const slow of [{ lookMs: 700 }, { tellMs: 2_000 }])
    assert.deepEqual(await decided([NEW, OLD, NEW, { height: 998n }, { ...NEW, ...slow }]), ["denied", 1_000n]);
});

test("an honest endpoint that is slower than the deadline, beside one that shows an old block, is a refusal", async () => {
  for (const floor of [undefined, 900n])
    for (const slow of [{ lookMs: 6_000 }, { tellMs: 6_000 }, { height: "silent" } as const])
      assert.equal(
        await refusedAs("chain-unreachable", /within 5000 ms/, [NEW, { ...NEW, ...slow }, OLD], floor),
        DEADLINE_MS,
      );
});

test("an honest endpoint that refuses, beside one that shows an old block, is a refusal", async () => {
  const text = /show block 1000, or one at most 3 below it: .*-0 shows block 1000; .*-2 shows block 10; .*-1 too many/;
  for (const floor of [undefined, 900n]) await refusedAs("chain-stale", text, [NEW, { height: "refused" }, OLD], floor);
  await refusedAs("chain-unreachable", /-1 header not found; .*-2 header not found/, [
    NEW,
    { ...NEW, refuses: 1_000n },
    OLD,
  ]);
});

test("a block is read below the newest once that has failed, and by at most 3", async () => {
  const ahead: Script = { height: 2_000n, lie: "allowed" };
  for (const [behind, outcome] of [
    [1_002n, "denied"],
    [999n, "denied"],
    [998n, undefined],
  ] as const) {
    const scripts = [{ height: 1_002n }, { height: behind }, ahead];
    if (outcome === undefined) await refusedAs("chain-disagrees", /different things of block 1002/, scripts);
    else assert.deepEqual(await decided(scripts), [outcome, behind]);
  }
});

test("one that is behind is read at the newest block all the same where it has it", async () => {
  const scripts: Script[] = [NEW, { height: 968n, head: 1_001n }, { height: 2_000n, lie: "allowed" }];
  assert.deepEqual(await decided(scripts), ["denied", 1_000n]);
});

test("one that never answers keeps two that are a block apart from nothing, and costs most of the deadline at most", async () => {
  for (const hanging of [{ height: "silent" }, { height: 2_000n, tellMs: 60_000 }] as const) {
    const { outcome, ms } = await hear([{ height: 1_001n }, NEW, hanging]);
    assert.ok(!(outcome instanceof Error));
    assert.deepEqual([outcome.value, outcome.height, ms], ["denied", 1_000n, 3_750]);
  }
  // Nobody waits for one that can change nothing.
  assert.equal((await hear([NEW, NEW, { height: "silent" }])).ms, 0);
  assert.deepEqual(await decided([{ height: 1_001n }, NEW]), ["denied", 1_000n]);
});

test("with one missing, one that catches up is waited for", async () => {
  const epochBehind: Script = { height: 968n, later: 1_000n, head: 1_001n };
  for (const missing of ["silent", "refused"] as const) {
    const { outcome, ms } = await hear([NEW, epochBehind, { height: missing }]);
    assert.ok(!(outcome instanceof Error), String(outcome));
    assert.deepEqual([outcome.value, outcome.height, ms], ["denied", 1_000n, 500]);
  }
});

test("what was read before is never undone, and is read again where it is there (DS #1319)", async () => {
  await refusedAs("chain-stale", /now show block 998, block 1000 was read before/, [{ height: 998n }, OLD], 1_000n);
  assert.deepEqual(await decided([{ height: 999n, head: 1_000n }], 1_000n), ["denied", 1_000n]);
});
