import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { FakeRpc } from "../../../libs/governance/test/fake-rpc.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");
/** Spelled with both cases, as checksums are. */
const CONTRACT = `0x${"aB".repeat(20)}`;
const BASE = {
  mrAggregated: `0x${"11".repeat(32)}`,
  osImageHash: `0x${"22".repeat(32)}`,
  appId: `0x${"33".repeat(20)}`,
  composeHash: `0x${"44".repeat(32)}`,
  instanceId: `0x${"55".repeat(20)}`,
  deviceId: `0x${"66".repeat(32)}`,
};
const UNAVAILABLE = { isAllowed: false, gatewayAppId: "", reason: "authorization backend unavailable" };

let fake: FakeRpc;
let folder: string;
let denyList: string;
let child: ChildProcess;
let base: string;
let output = "";

interface Answer {
  readonly status: number;
  readonly json: Record<string, unknown>;
}

/** What says that something is wrong names the request, as the header does; beside that it is always the same. */
const read = async (response: Response): Promise<Answer> => {
  const { request_id: id, ...json } = (await response.json()) as Record<string, unknown>;
  if (response.status >= 400 || id !== undefined) assert.equal(id, response.headers.get("x-request-id"));
  return { status: response.status, json };
};
const post = async (kind: string, body: unknown): Promise<Answer> =>
  read(
    await fetch(`${base}/bootAuth/${kind}`, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
    }),
  );

before(async () => {
  fake = await FakeRpc.start();
  folder = await mkdtemp(join(tmpdir(), "auth-eth-"));
  denyList = join(folder, "denied.txt");
  child = spawn(process.execPath, [MAIN], {
    env: {
      PATH: process.env["PATH"],
      PORT: "0",
      ETH_RPC_URL: fake.url,
      KMS_CONTRACT_ADDR: CONTRACT,
      ETH_CHAIN_ID: "1337",
      ETH_FINALITY_CONFIRMATIONS: "2",
      DENY_LIST_PATH: denyList,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  base = await new Promise<string>((resolve, reject) => {
    child.stderr!.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const found = /"address":"([^"]+)"/.exec(output);
      if (found !== null) resolve(`http://${found[1]}`);
    });
    child.once("exit", () => reject(new Error(output)));
  });
});

beforeEach(async () => {
  Object.assign(fake, {
    mood: "good",
    chainId: 1337,
    head: fake.head + 10,
    decision: [true, ""],
    gatewayAppId: "gateway",
  });
  fake.asked.length = 0;
  await writeFile(denyList, "# nobody yet\n");
});

after(async () => {
  child.kill("SIGTERM");
  if (child.exitCode === null) await once(child, "exit");
  assert.equal(child.exitCode, 0);
  await fake.stop();
  await rm(folder, { recursive: true });
});

test("answers with the contract's words, the gateway and the block (E1 to E3, E9)", async () => {
  const { status, json } = await post("app", {
    ...BASE,
    tcbStatus: "UpToDate",
    advisoryIds: ["INTEL-SA-1"],
    mrSystem: "77".repeat(32),
    unknown: 1,
  });
  const number = fake.head - 2;
  assert.deepEqual(
    [status, json],
    [
      200,
      {
        isAllowed: true,
        reason: "",
        gatewayAppId: "gateway",
        block: { chainId: 1337, number, hash: fake.blockHash(number) },
      },
    ],
  );
  const [asked] = fake.asked.find(({ functionName }) => functionName === "isAppAllowed")!.args as [
    { advisoryIds: string[] },
  ];
  assert.deepEqual(asked.advisoryIds, ["INTEL-SA-1"]);
  fake.decision = [false, "Aggregated MR not allowed"];
  const denied = await post("kms", BASE);
  assert.equal(denied.status, 200);
  assert.equal(denied.json["reason"], "Aggregated MR not allowed");
  assert.equal(denied.json["field"], "mrAggregated");
  assert.equal(denied.json["rule"], `DstackKms ${CONTRACT}: kmsAllowedAggregatedMrs`);
  assert.ok(fake.asked.some(({ functionName }) => functionName === "isKmsAllowed"));
  // What DstackKms alone judges is never laid at an app's door.
  fake.decision = [false, "Device not allowed"];
  assert.equal((await post("kms", BASE)).json["rule"], `DstackKms ${CONTRACT}: isKmsAllowed`);
  const app = await post("app", BASE);
  assert.deepEqual([app.json["rule"], app.json["field"]], [`DstackApp ${BASE.appId}: allowedDeviceIds`, "deviceId"]);
  fake.decision = [false, "Aggregated MR not allowed"];
  assert.equal((await post("app", BASE)).json["rule"], `DstackApp ${BASE.appId}: isAppAllowed`);
});

test("malformed requests are 400 in one form and ask nobody (E4, E5)", async () => {
  const malformed = { isAllowed: false, reason: "invalid authorization request", gatewayAppId: "" };
  for (const body of [
    { ...BASE, mrAggregated: "ab".repeat(33) },
    { ...BASE, mrAggregated: "not-hex" },
    { ...BASE, composeHash: "44".repeat(31) },
    { mrAggregated: "0x1234" },
    "",
    "{",
    "[]",
  ]) {
    const answer = await post("app", body);
    assert.equal(answer.status, 400);
    assert.deepEqual(answer.json, malformed);
  }
  const long = await fetch(`${base}/bootAuth/app`, { method: "POST", body: "x".repeat(5_000_000) });
  assert.equal(long.status, 413);
  assert.equal(fake.asked.length, 0);
});

test("a failing chain denies without its words, and recovers (E6, E7, E13, E16)", async () => {
  for (const spoil of [
    { mood: "error" },
    { mood: "garbage" },
    { mood: "http-500" },
    { mood: "empty-answers" },
    { chainId: 1 },
    { head: 1 },
    { decision: "revert" },
  ] as const) {
    const saved = { mood: fake.mood, chainId: fake.chainId, head: fake.head, decision: fake.decision };
    Object.assign(fake, spoil);
    assert.deepEqual(await post("kms", BASE), { status: 200, json: UNAVAILABLE }, JSON.stringify(spoil));
    if (!("decision" in spoil)) {
      const { status, json } = await read(await fetch(base));
      assert.equal(status, 500);
      assert.deepEqual(json, { status: "error", message: "authorization backend unavailable" });
    }
    Object.assign(fake, saved);
    assert.equal((await post("kms", BASE)).json["isAllowed"], true);
  }
  // What the server tells of its key without an address around it.
  Object.assign(fake, {
    mood: "echo",
    echo: JSON.stringify({ jsonrpc: "2.0", id: 1, error: { code: -32_000, message: "no project secret-key" } }),
  });
  assert.deepEqual((await post("app", BASE)).json, UNAVAILABLE);
  assert.doesNotMatch(output, /secret-key/);
  assert.match(output, /no project \(hidden\)/);
  assert.match(output, /on chain 1, expected 1337/);
});

test("tells about itself without the endpoint's path (E8)", async () => {
  const { status, json } = await read(await fetch(base));
  assert.equal(status, 200);
  assert.deepEqual(
    { ...json, block: undefined },
    {
      status: "ok",
      kmsContractAddr: CONTRACT,
      ethRpcUrl: new URL(fake.url).origin,
      gatewayAppId: "gateway",
      chainId: 1337,
      appAuthImplementation: `0x${"99".repeat(20)}`,
      appImplementation: `0x${"99".repeat(20)}`,
      block: undefined,
    },
  );
});

test("keeps no decision (E11, E12)", async () => {
  assert.equal((await post("app", BASE)).json["isAllowed"], true);
  fake.decision = [false, "Compose hash not allowed"];
  assert.equal((await post("app", BASE)).json["isAllowed"], false);
});

test("the deny list shuts an app out whatever the contract says, and a broken one shuts out all (DS #1293)", async () => {
  await writeFile(denyList, `# told on Monday\n${BASE.appId.toUpperCase().replace("0X", "")} # this one\n`);
  assert.deepEqual((await post("app", BASE)).json, {
    isAllowed: false,
    reason: "app is on the deny list",
    gatewayAppId: "",
    rule: "DENY_LIST_PATH",
    field: "appId",
  });
  assert.equal((await post("kms", BASE)).json["isAllowed"], true);
  assert.equal((await post("app", { ...BASE, appId: "99".repeat(20) })).json["isAllowed"], true);
  await writeFile(denyList, "0x1234\n");
  assert.deepEqual((await post("app", BASE)).json, UNAVAILABLE);
  await rm(denyList);
  assert.deepEqual((await post("app", BASE)).json, UNAVAILABLE);
});

test("a bad environment ends the start with one clear line", async () => {
  for (const [env, text] of [
    [{ ETH_RPC_URL: "ftp://x" }, /no http or https URL/],
    [{ ETH_RPC_URL: "http://a/,http://a/" }, /each endpoint once/],
    [{ ETH_RPC_URL: "http://a/,http://b/", ETH_RPC_QUORUM: "1" }, /more than half/],
    [{ ETH_CHAIN_ID: "0x1" }, /ETH_CHAIN_ID: expected a whole number/],
    [{ ETH_FINALITY_CONFIRMATIONS: "-1" }, /ETH_FINALITY_CONFIRMATIONS/],
    [{ KMS_CONTRACT_ADDR: "0x12" }, /KMS_CONTRACT_ADDR: expected 20 bytes/],
    [{ PORT: "70000" }, /PORT/],
  ] as const) {
    const bad = spawn(process.execPath, [MAIN], {
      env: { PATH: process.env["PATH"], ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    bad.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [exitCode] = (await once(bad, "exit")) as [number];
    assert.equal(exitCode, 1);
    assert.match(said, text);
    assert.equal(said.trim().split("\n").length, 1, said);
  }
});

interface Case {
  readonly id: string;
  readonly path: string;
  readonly body?: string;
  readonly body_patch?: object;
  readonly body_literal?: object;
  readonly backend?:
    | "error"
    | "must not be called"
    | { readonly isAppAllowed?: readonly [boolean, string]; readonly gatewayAppId?: string };
  readonly head?: number | "error";
  readonly chain_id?: number;
  readonly expect: {
    readonly status?: number;
    readonly json?: object;
    readonly read_block?: number;
    readonly head_queries?: number;
    readonly contract_args_match?: Record<string, string>;
  };
}

vectorTest("answers the cases of chain-backed webhooks", "kms/auth-eth-cases.json", async ({ json }) => {
  const { cases, base_boot_info: boot } = json<{ cases: Case[]; base_boot_info: Record<string, string> }>(
    "kms/auth-eth-cases.json",
  );
  // Blocks never go back within one process: these cases come in the order of their heads.
  for (const {
    id,
    path,
    body,
    body_patch: patch,
    body_literal: literal,
    backend,
    head,
    chain_id: chainId,
    expect,
  } of cases) {
    if (typeof head === "number") continue; // Read at head 100: told by "with confirmations it reads that far below the head".
    fake.asked.length = 0;
    Object.assign(fake, {
      mood: backend === "error" || head === "error" ? "error" : "good",
      chainId: chainId ?? 1337,
      decision: [true, ""],
      gatewayAppId: "g",
    });
    if (typeof backend === "object")
      Object.assign(fake, { decision: backend.isAppAllowed ?? [true, ""], gatewayAppId: backend.gatewayAppId ?? "" });
    const plain =
      body?.includes("without 0x") === true
        ? Object.fromEntries(Object.entries(boot).map(([key, value]) => [key, value.replace("0x", "")]))
        : boot;
    const answer =
      path === "GET /"
        ? await read(await fetch(base))
        : await post(path.split("/").at(-1)!, literal ?? { ...plain, ...patch });
    if (expect.status !== undefined) assert.equal(answer.status, expect.status, id);
    for (const [key, value] of Object.entries(expect.json ?? {}))
      assert.deepEqual(answer.json[key], value, `${id} ${key}`);
    if (backend === "must not be called") assert.equal(fake.asked.length, 0, id);
    const [args] = (fake.asked.find(({ functionName }) => functionName === "isAppAllowed")?.args ?? []) as [
      Record<string, string>?,
    ];
    for (const [key, pattern] of Object.entries(expect.contract_args_match ?? {}))
      assert.match((args?.[key] ?? "").toLowerCase(), new RegExp(pattern), `${id} ${key}`);
  }
});
