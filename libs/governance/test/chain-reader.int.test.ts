import assert from "node:assert/strict";
import { after, test } from "node:test";
import { inspect } from "node:util";
import { ChainReader, endpoint, KmsContract, reasonOf, type ChainReaderOptions } from "../src/chain/index.ts";
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

test("reads at the finalized block that a quorum has, and says which (DS #115, DS #1319)", async () => {
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

test("a liar who claims blocks that nobody has keeps nobody from deciding", async () => {
  const [a, b, c] = (await fakes(3)) as [FakeRpc, FakeRpc, FakeRpc];
  Object.assign(a, { finalized: 100, head: 100 });
  Object.assign(b, { finalized: 99, head: 99 });
  for (const lie of [
    { decision: [false, "no"] },
    { decision: [true, ""], fork: "other" },
    { fork: "main", mood: "silent-on-blocks" },
    { mood: "error" },
  ] as const) {
    Object.assign(c, { finalized: 105, ...lie });
    const { isAllowed, block } = await contract([a, b, c]).decide("app", BOOT);
    assert.deepEqual([isAllowed, block.number], [true, 99n], JSON.stringify(lie));
  }
});

test("two liars of five keep nobody from deciding: one is ahead, one never answers", async () => {
  const all = await fakes(5);
  for (const [index, fake] of all.entries()) fake.finalized = fake.head = 100 - index;
  Object.assign(all[3]!, { finalized: 200, decision: [false, "no"] });
  all[4]!.mood = "silent";
  const { isAllowed, block } = await contract(all).decide("app", BOOT);
  assert.deepEqual([isAllowed, block.number], [true, 98n]);
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

test("an endpoint on another chain keeps nobody from deciding where nobody said which is right", async () => {
  const [a, b, c] = (await fakes(3)) as [FakeRpc, FakeRpc, FakeRpc];
  c.chainId = 1;
  const kms = contract([a, b, c], { chainId: undefined });
  assert.equal((await kms.decide("app", BOOT)).block.chainId, 1337);
  // What was believed once stays: the others cannot move over later.
  Object.assign(a, { chainId: 1 });
  await assert.rejects(kms.decide("app", BOOT), refused("chain-wrong", /on chain 1, expected 1337/));
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

test("no endpoint sends a question elsewhere", async () => {
  const [a, b] = (await fakes(2)) as [FakeRpc, FakeRpc];
  a.mood = "redirect";
  a.redirectTo = b.url;
  await assert.rejects(contract([a]).decide("app", BOOT), refused("chain-unreachable", /answered 307/));
  assert.deepEqual(b.asked, []);
});

test("what a server repeats of a key is in no error, nor in its causes", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  const key = "aB3dE-fG7h_Kl9";
  const url = new URL(`/v2/${key}?project=tR0ub4dor&x=per%2Fcent%3Dkey`, a.url);
  Object.assign(url, { username: "operator", password: "hunter2-hunter2" });
  const basic = Buffer.from("operator:hunter2-hunter2").toString("base64");
  const one = endpoint(url.href, 1_500);
  a.mood = "echo";
  const told = [
    key,
    key.toUpperCase(),
    key.slice(0, 9),
    `x${key}x`,
    Buffer.from(key).toString("base64"),
    "tR0ub4dor",
    "per/cent=key",
    "per%2Fcent%3Dkey",
    "hunter2-hunter2",
    basic,
    url.href,
    url.href.replace("http://", "").replace("@", " "),
    "sk0live0Another1Key2of3theirs",
  ];
  const words = [
    /aB3dE/i,
    /R0ub4/i,
    /cent/,
    /hunter/i,
    /b3BlcmF0/i,
    /0live0/i,
    new RegExp(Buffer.from(key).toString("base64").slice(0, 9), "i"),
  ];
  for (const text of told)
    for (const [status, answer] of [
      [
        200,
        JSON.stringify({
          jsonrpc: "2.0",
          id: 1,
          error: { code: -32_000, message: `no project ${text} here`, data: text },
        }),
      ],
      [401, JSON.stringify({ jsonrpc: "2.0", id: 1, error: { code: 1, message: `"${text}"` }, more: text })],
      [403, JSON.stringify({ message: text })],
      [429, `<html>${text}</html>`],
      [200, `<html>${text}</html>`],
      [200, `{"jsonrpc":"2.0","id":1,"result":"${text}`],
      [200, JSON.stringify({ jsonrpc: "2.0", id: 1, result: 7, [text]: text })],
    ] as const) {
      Object.assign(a, { echo: answer, echoStatus: status });
      for (const ask of [
        () => one.client.getChainId(),
        () => one.client.getBlock({ blockTag: "finalized" }),
        () => one.post("{}"),
      ]) {
        const outcome = await ask().catch((error: unknown) => error);
        const said = `${inspect(outcome, { depth: 9 })} ${JSON.stringify(outcome)} ${reasonOf(outcome)}`;
        for (const word of words) assert.doesNotMatch(said, word, `${status} ${text}`);
      }
    }
  // What tells a person something stays.
  Object.assign(a, {
    echo: JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      error: { code: 3, message: `execution reverted: no 0x${"ab".repeat(20)} today` },
    }),
    echoStatus: 200,
  });
  await assert.rejects(one.client.getChainId(), (error) =>
    reasonOf(error).includes(`execution reverted: no 0x${"ab".repeat(20)} today`),
  );
});

test("user and password of an address are shown to its server", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  const url = Object.assign(new URL(a.url), { username: "operator", password: "p%C3%A4ss" }).href;
  await endpoint(url, 1_500).client.getChainId();
  assert.equal(a.authorization, `Basic ${Buffer.from("operator:päss").toString("base64")}`);
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
  const kms = contract([a], { deadlineMs: 6_000 });
  assert.equal((await kms.decide("app", BOOT)).block.number, 98n);
  Object.assign(a, { finalized: 96, head: 97, decision: [false, "older"] });
  await assert.rejects(
    kms.decide("app", BOOT),
    refused("chain-stale", /now show block 96, block 98 was read before and they do not have it/),
  );
  Object.assign(a, { finalized: 98, head: 100 });
  a.timestamp -= 4_000;
  await assert.rejects(kms.decide("app", BOOT), refused("chain-stale", /s old, at most 3600 s/));
  assert.equal((await contract([a], { maxBlockAgeSeconds: undefined }).decide("app", BOOT)).isAllowed, false);
});

test("one address whose nodes are a block apart is read where it was read before", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  a.head = 200;
  const deep = contract([a], { confirmations: 2 });
  assert.equal((await deep.decide("app", BOOT)).block.number, 198n);
  a.head = 199;
  assert.equal((await deep.decide("app", BOOT)).block.number, 198n);
  // At the head itself the other node does not have the block yet: it is asked again.
  a.head = 300;
  const shallow = contract([a], { confirmations: 0 });
  await shallow.decide("app", BOOT);
  a.head = 299;
  const asked = shallow.decide("app", BOOT);
  setTimeout(() => (a.head = 300), 200);
  assert.equal((await asked).block.number, 300n);
});

test("reads that run beside one another never make an older block count again", async () => {
  const [a] = (await fakes(1)) as [FakeRpc];
  const kms = contract([a]);
  a.hold = Promise.withResolvers<void>();
  const slow = kms.decide("app", BOOT);
  await a.held;
  const { hold } = a;
  a.hold = undefined;
  a.finalized = 99;
  assert.equal((await kms.decide("app", BOOT)).block.number, 99n);
  hold.resolve();
  assert.equal((await slow).block.number, 98n);
  a.finalized = 98;
  assert.equal((await kms.decide("app", BOOT)).block.number, 99n);
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
