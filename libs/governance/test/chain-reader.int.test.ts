import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ChainReader, endpoint, KmsContract, type ChainReaderOptions } from "../src/chain/index.ts";
import { GovernanceError, type BootInfo } from "../src/index.ts";
import { FakeRpc } from "./fake-rpc.ts";

const KMS = `0x${"12".repeat(20)}` as const;
const BOOT: BootInfo = {
  mrAggregated: "11".repeat(32),
  osImageHash: "22".repeat(32),
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
  instanceId: "55".repeat(20),
  deviceId: "66".repeat(32),
  tcbStatus: "UpToDate",
  advisoryIds: [],
  mrSystem: "",
  teeVariant: "",
};
const started: FakeRpc[] = [];
after(async () => {
  for (const fake of started) await fake.stop();
});

async function fakes(count: number): Promise<FakeRpc[]> {
  const all = await Promise.all(Array.from({ length: count }, () => FakeRpc.start()));
  started.push(...all);
  return all;
}

function contract(endpoints: readonly FakeRpc[], options: Partial<ChainReaderOptions> = {}): KmsContract {
  const deadlineMs = options.deadlineMs ?? 5_000;
  return new KmsContract(
    KMS,
    new ChainReader({
      endpoints: endpoints.map(({ url }) => endpoint(url, 1_500)),
      quorum: Math.floor(endpoints.length / 2) + 1,
      chainId: 1337,
      confirmations: undefined,
      maxBlockAgeSeconds: 3_600,
      clock: Date,
      ...options,
      deadlineMs,
    }),
  );
}

const refused =
  (code: string, text: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof GovernanceError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    // Addresses of endpoints may hold keys.
    assert.doesNotMatch(error.message, /secret-key/);
    return true;
  };

test("reads at the finalized block that a quorum has, and says which", async () => {
  const [a, b, c] = (await fakes(3)) as [FakeRpc, FakeRpc, FakeRpc];
  a.finalized = 200;
  b.finalized = 99;
  c.finalized = 90;
  const { isAllowed, gatewayAppId, block } = await contract([a, b, c]).decide("app", BOOT);
  assert.deepEqual(
    [isAllowed, gatewayAppId, block.number, block.hash, block.chainId],
    [true, "gateway", 99n, a.blockHash(99), 1337],
  );
  assert.deepEqual([...new Set(a.asked.flatMap(({ block: at }) => at ?? []))], ["0x63"]);
});

test("one endpoint that lies about the decision, the gateway or the block is outvoted", async () => {
  const [a, b, c] = (await fakes(3)) as [FakeRpc, FakeRpc, FakeRpc];
  for (const lie of [{ decision: [false, "no"] }, { gatewayAppId: "evil" }, { fork: "other" }] as const) {
    const before = { decision: c.decision, gatewayAppId: c.gatewayAppId, fork: c.fork };
    Object.assign(c, lie);
    const { isAllowed, gatewayAppId } = await contract([a, b, c]).decide("kms", BOOT);
    assert.deepEqual([isAllowed, gatewayAppId], [true, "gateway"]);
    Object.assign(c, before);
  }
});

test("endpoints that disagree decide nothing", async () => {
  const [a, b] = (await fakes(2)) as [FakeRpc, FakeRpc];
  b.decision = [false, "no"];
  await assert.rejects(
    contract([a, b]).decide("app", BOOT),
    refused("chain-disagrees", /tell 2 different things of block 98; 2 must/),
  );
  b.decision = a.decision;
  b.fork = "reorganised";
  await assert.rejects(contract([a, b]).decide("app", BOOT), refused("chain-disagrees", /different/));
});

test("a wrong chain is refused, also where nobody said which is right", async () => {
  const [a, b] = (await fakes(2)) as [FakeRpc, FakeRpc];
  a.chainId = 1;
  await assert.rejects(contract([a]).decide("app", BOOT), refused("chain-wrong", /on chain 1, expected 1337/));
  await assert.rejects(
    contract([a, b], { chainId: undefined }).decide("app", BOOT),
    refused("chain-disagrees", /chains 1 and 1337/),
  );
});

test("broken endpoints are outvoted while a quorum is left, and named where none is", async () => {
  const [a, b, c] = (await fakes(3)) as [FakeRpc, FakeRpc, FakeRpc];
  for (const mood of ["garbage", "endless", "error", "http-500", "silent", "wrong-block", "empty-answers"] as const) {
    c.mood = mood;
    b.mood = "good";
    assert.equal((await contract([a, b, c]).decide("app", BOOT)).isAllowed, true, mood);
    b.mood = mood;
    await assert.rejects(
      contract([a, b, c]).decide("app", BOOT),
      (error) =>
        error instanceof GovernanceError &&
        /fewer than 2 of 3/.test(error.message) &&
        !/secret-key/.test(error.message),
      mood,
    );
  }
});

test("an address without a contract is named as such", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  a.mood = "empty-answers";
  await assert.rejects(contract([a]).decide("app", BOOT), refused("no-contract", /no DstackKms at 0x1212/));
});

test("a silent endpoint costs no more than the deadline", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  a.mood = "silent";
  await assert.rejects(
    contract([a], { deadlineMs: 300 }).decide("app", BOOT),
    refused("chain-unreachable", /within 300 ms/),
  );
});

test("old state is refused: an old block, and a chain that goes back", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  const kms = contract([a]);
  assert.equal((await kms.decide("app", BOOT)).block.number, 98n);
  a.finalized = 97;
  await assert.rejects(kms.decide("app", BOOT), refused("chain-stale", /now show block 97, block 98 was read before/));
  a.finalized = 98;
  a.timestamp -= 4_000;
  await assert.rejects(kms.decide("app", BOOT), refused("chain-stale", /s old, at most 3600 s/));
  assert.equal((await contract([a], { maxBlockAgeSeconds: undefined }).decide("app", BOOT)).isAllowed, true);
});

test("with confirmations it reads that far below the head, asked for once, and decides anew each time (E14 to E16)", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  const kms = contract([a], { confirmations: 2 });
  await kms.decide("app", BOOT);
  assert.equal(a.asked.filter(({ method }) => method === "eth_blockNumber").length, 1);
  assert.deepEqual([...new Set(a.asked.flatMap(({ block: at }) => at ?? []))], ["0x62"]);
  a.head = 101;
  a.fork = "reorganised";
  a.decision = [false, "Compose hash not allowed"];
  assert.deepEqual(await kms.decide("app", BOOT), {
    isAllowed: false,
    reason: "Compose hash not allowed",
    gatewayAppId: "gateway",
    block: { chainId: 1337, number: 99n, hash: a.blockHash(99) },
  });
  a.head = 1;
  await assert.rejects(
    contract([a], { confirmations: 2 }).decide("app", BOOT),
    refused("chain-stale", /head 1 has no 2 confirmations/),
  );
});

test("a contract of somebody's app that reverts denies nothing and allows nothing", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  a.decision = "revert";
  await assert.rejects(contract([a]).decide("app", BOOT), refused("chain-unreachable", /reverted/));
});

test("hashes of another length never reach the chain (DS #1268, #1310)", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  const kms = contract([a]);
  for (const [field, values] of Object.entries({
    composeHash: ["44".repeat(31), "44".repeat(33), "0x", "", "4", "zz".repeat(32), ` ${"44".repeat(32)}`],
    appId: ["33".repeat(19), "33".repeat(21), "", "0x"],
    instanceId: ["0x", "55".repeat(19)],
    deviceId: ["66".repeat(64), ""],
    mrSystem: ["0x", "77".repeat(31)],
  })) {
    for (const value of values)
      await assert.rejects(
        kms.decide("app", { ...BOOT, [field]: value }),
        refused("request-invalid", new RegExp(`^${field}: expected`)),
        `${field} ${value}`,
      );
  }
  for (const more of [
    { tcbStatus: "x".repeat(129) },
    { advisoryIds: Array.from({ length: 129 }, () => "a") },
    { advisoryIds: ["x".repeat(257)] },
  ]) {
    await assert.rejects(kms.decide("app", { ...BOOT, ...more }), refused("request-invalid", /expected at most/));
  }
  assert.equal(a.asked.length, 0);
  await kms.decide("app", { ...BOOT, composeHash: `0X${"AB".repeat(32)}`, instanceId: "" });
  const [info] = a.asked.find(({ functionName }) => functionName === "isAppAllowed")!.args as [
    { composeHash: string; instanceId: string },
  ];
  assert.equal(info.composeHash, `0x${"ab".repeat(32)}`);
  assert.equal(info.instanceId, `0x${"00".repeat(20)}`);
});

test("a quorum is more than half", () => {
  const one = endpoint("http://127.0.0.1:1/", 100);
  for (const [count, quorum] of [
    [0, 1],
    [1, 0],
    [1, 2],
    [2, 1],
    [4, 2],
    [3, 1.5],
  ] as const) {
    assert.throws(
      () =>
        new ChainReader({
          endpoints: Array.from({ length: count }, () => one),
          quorum,
          chainId: 1,
          confirmations: 0,
          maxBlockAgeSeconds: 1,
          deadlineMs: 1,
          clock: Date,
        }),
      GovernanceError,
      `${quorum} of ${count}`,
    );
  }
});
