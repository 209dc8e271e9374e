import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hypotheticalBoot } from "@dstack/governance";
import { calls, endpoint, sendCall, type ContractCall } from "@dstack/governance/chain";
import type { Address } from "viem";
import { accounts, Anvil, anvilPath } from "../libs/governance/test/anvil.ts";
import { median } from "./rounds.ts";

const FULL = { rounds: 9, turns: 300, apps: 100_000 };
const QUICK = { rounds: 1, turns: 20, apps: 1_000 };
/** After this long an unchanged file is no longer read again to be sure. */
const SETTLE_MS = 2_200;
const START_TIMEOUT_MS = 60_000;

const LISTED = { composeHash: "44".repeat(32), osImageHash: "22".repeat(32), deviceId: "66".repeat(32) };
const appId = (i: number): string => i.toString(16).padStart(40, "0");
const boot = (app: string): string => JSON.stringify(hypotheticalBoot({ ...LISTED, appId: app }));
const print = (text: string): void => void process.stdout.write(`${text}\n`);

type Effort = typeof FULL;

/**
 * A decision of auth-simple over HTTP with many apps in its file, beside one by a file with a single app; a
 * decision of auth-eth by a contract on a local chain, beside one bare call of that chain. In turns.
 */
export async function auth(args: readonly string[]): Promise<void> {
  const effort = args.includes("--quick") ? QUICK : FULL;
  await byFile(effort);
  if (anvilPath() !== undefined) await byContract(effort);
}

async function byFile(effort: Effort): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "dstack-bench-auth-"));
  const servers: Server[] = [];
  try {
    for (const apps of [1, effort.apps]) {
      const path = join(folder, `${apps}.json`);
      const entries = Object.fromEntries(
        Array.from({ length: apps }, (_, i) => [
          appId(i),
          { composeHashes: [LISTED.composeHash], devices: [LISTED.deviceId] },
        ]),
      );
      await writeFile(
        path,
        JSON.stringify({ osImages: [LISTED.osImageHash], kms: { mrAggregated: [], devices: [] }, apps: entries }),
      );
      servers.push(await start("auth-simple", { AUTH_CONFIG_PATH: path }));
    }
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const [alone, crowded] = (await inTurns(
      effort,
      servers.map((server, index) => {
        const apps = index === 0 ? 1 : effort.apps;
        // Over all of the file.
        return (turn: number) =>
          ask(server, "/bootAuth/app", boot(appId(Math.floor((turn * apps) / effort.turns))), '"isAllowed":true');
      }),
    )) as [number, number];
    print(`auth-simple, one decision over HTTP, median of ${effort.rounds * effort.turns}`);
    print(`  ${alone.toFixed(2)} ms  1 app in the file`);
    print(`  ${crowded.toFixed(2)} ms  ${effort.apps} apps in the file`);
    print(`  ${(crowded / alone).toFixed(2)} x   of the time with 1 app`);
  } finally {
    await Promise.all(servers.map(stop));
    await rm(folder, { recursive: true });
  }
}

async function byContract(effort: Effort): Promise<void> {
  const anvil = await Anvil.start();
  let server: Server | undefined;
  try {
    const { client } = endpoint(anvil.url, START_TIMEOUT_MS);
    const [owner] = accounts;
    const create = async (call: ContractCall): Promise<Address> =>
      (await sendCall(call, { client, account: owner, timeoutMs: START_TIMEOUT_MS })).contractAddress!;
    const kms = await create(
      calls.createKmsProxy(await create(calls.createKmsCode()), owner.address, await create(calls.createAppCode())),
    );
    await sendCall(calls.changeKmsList(kms, "os-image", `0x${LISTED.osImageHash}`, true), {
      client,
      account: owner,
      timeoutMs: START_TIMEOUT_MS,
    });
    const eth = await start("auth-eth", {
      ETH_RPC_URL: anvil.url,
      KMS_CONTRACT_ADDR: kms,
      ETH_CHAIN_ID: "1337",
      ETH_FINALITY_CONFIRMATIONS: "0",
      ETH_MAX_BLOCK_AGE: "0",
    });
    server = eth;
    const chain = { port: Number(new URL(anvil.url).port), agent: eth.agent };
    const [decision, bare] = (await inTurns(effort, [
      (turn) => ask(eth, "/bootAuth/app", boot(appId(turn)), "App not registered"),
      () =>
        ask(chain, "/", '{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["latest",false]}', '"hash"'),
    ])) as [number, number];
    print(`auth-eth, one decision over HTTP by a contract on a local chain, median of ${effort.rounds * effort.turns}`);
    print(`  ${decision.toFixed(2)} ms  a decision`);
    print(`  ${bare.toFixed(2)} ms  one call of the chain, which looks a block up`);
    print(`  ${(decision / bare).toFixed(2)} x   of the time of that call`);
  } finally {
    if (server !== undefined) await stop(server);
    await anvil.stop();
  }
}

/** The median of each contestant's milliseconds, after one round to warm up. */
async function inTurns(
  { rounds, turns }: Effort,
  contestants: readonly ((turn: number) => Promise<void>)[],
): Promise<number[]> {
  const times = contestants.map((): number[] => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [index, run] of contestants.entries()) {
      for (let turn = 0; turn < turns; turn++) {
        const begun = performance.now();
        await run(turn);
        if (round > 0) times[index]!.push(performance.now() - begun);
      }
    }
  }
  return times.map(median);
}

interface Peer {
  readonly port: number;
  readonly agent: Agent;
}

interface Server extends Peer {
  readonly child: ChildProcess;
}

async function start(name: string, env: Readonly<Record<string, string>>): Promise<Server> {
  const child = spawn(process.execPath, ["--", join(import.meta.dirname, "../services", name, "src/main.ts")], {
    env: { PATH: process.env["PATH"], PORT: "0", HOST: "127.0.0.1", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const port = await new Promise<number>((resolve, reject) => {
    let output = "";
    const timer = setTimeout(() => reject(new Error(`${name} did not start: ${output}`)), START_TIMEOUT_MS);
    // Read to the end: a full pipe would stop the server.
    child.stderr.on("data", (chunk: Buffer) => {
      if (output.length < 100_000) output += chunk.toString();
      const found = /"address":"[^"]+:(\d+)"/.exec(output);
      if (found === null) return;
      clearTimeout(timer);
      resolve(Number(found[1]));
    });
    child.once("exit", () => reject(new Error(`${name} ended: ${output}`)));
  });
  return { child, port, agent: new Agent({ keepAlive: true }) };
}

async function stop({ child, agent }: Server): Promise<void> {
  agent.destroy();
  child.kill("SIGTERM");
  if (child.exitCode === null) await once(child, "exit");
}

/** @throws Error for another answer than the one that is meant to be measured */
async function ask({ port, agent }: Peer, path: string, body: string, expected: string): Promise<void> {
  const answer = await new Promise<string>((resolve, reject) => {
    const outgoing = request(
      {
        host: "127.0.0.1",
        port,
        path,
        method: "POST",
        agent,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
      },
      (response) => {
        let text = "";
        response
          .setEncoding("utf8")
          .on("data", (chunk: string) => (text += chunk))
          .once("end", () => resolve(text));
      },
    );
    outgoing.once("error", reject).end(body);
  });
  if (!answer.includes(expected)) throw new Error(`expected ${expected}, got ${answer.slice(0, 300)}`);
}
