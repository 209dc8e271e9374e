import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hypotheticalBoot } from "@dstack/governance";
import { median } from "./rounds.ts";

const FULL = { rounds: 9, turns: 300, apps: 100_000 };
const QUICK = { rounds: 1, turns: 20, apps: 1_000 };
/** After this long an unchanged file is no longer read again to be sure. */
const SETTLE_MS = 2_200;
const START_TIMEOUT_MS = 60_000;

const LISTED = { composeHash: "44".repeat(32), osImageHash: "22".repeat(32), deviceId: "66".repeat(32) };
const appId = (i: number): string => i.toString(16).padStart(40, "0");

/** A decision of auth-simple over HTTP with many apps in its file, beside one by a file with a single app, in turns. */
export async function auth(args: readonly string[]): Promise<void> {
  const effort = args.includes("--quick") ? QUICK : FULL;
  const folder = await mkdtemp(join(tmpdir(), "dstack-bench-auth-"));
  const servers: Server[] = [];
  try {
    const few = await start(join(folder, "few.json"), 1);
    servers.push(few);
    const many = await start(join(folder, "many.json"), effort.apps);
    servers.push(many);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const times: { few: number[]; many: number[] } = { few: [], many: [] };
    for (const name of ["few", "many"] as const) await round({ few, many }[name], name === "few" ? 1 : effort.apps, effort.turns);
    for (let i = 0; i < effort.rounds; i++) {
      times.few.push(...(await round(few, 1, effort.turns)));
      times.many.push(...(await round(many, effort.apps, effort.turns)));
    }
    const [alone, crowded] = [median(times.few), median(times.many)];
    const out = (text: string): void => void process.stdout.write(`${text}\n`);
    out(`auth-simple, one decision over HTTP, median of ${times.many.length}`);
    out(`  ${alone.toFixed(2)} ms  1 app in the file`);
    out(`  ${crowded.toFixed(2)} ms  ${effort.apps} apps in the file`);
    out(`  ${(crowded / alone).toFixed(2)} x   of the time with 1 app`);
  } finally {
    for (const { child, agent } of servers) {
      agent.destroy();
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
    }
    await rm(folder, { recursive: true });
  }
}

interface Server {
  readonly child: ChildProcess;
  readonly port: number;
  readonly agent: Agent;
}

async function start(path: string, apps: number): Promise<Server> {
  const entries = Object.fromEntries(Array.from({ length: apps }, (_, i) => [appId(i), { composeHashes: [LISTED.composeHash], devices: [LISTED.deviceId] }]));
  await writeFile(path, JSON.stringify({ osImages: [LISTED.osImageHash], kms: { mrAggregated: [], devices: [] }, apps: entries }));
  const child = spawn(process.execPath, [join(import.meta.dirname, "../services/auth-simple/src/main.ts")], { env: { PATH: process.env["PATH"], PORT: "0", HOST: "127.0.0.1", AUTH_CONFIG_PATH: path }, stdio: ["ignore", "ignore", "pipe"] });
  const port = await new Promise<number>((resolve, reject) => {
    let output = "";
    const timer = setTimeout(() => reject(new Error(`auth-simple did not start: ${output}`)), START_TIMEOUT_MS);
    // Read to the end: a full pipe would stop the server.
    child.stderr.on("data", (chunk: Buffer) => {
      if (output.length < 100_000) output += chunk.toString();
      const found = /"address":"[^"]+:(\d+)"/.exec(output);
      if (found === null) return;
      clearTimeout(timer);
      resolve(Number(found[1]));
    });
    child.once("exit", () => reject(new Error(`auth-simple ended: ${output}`)));
  });
  return { child, port, agent: new Agent({ keepAlive: true, maxSockets: 1 }) };
}

/** Milliseconds of each question, over all of the file. */
async function round({ port, agent }: Server, apps: number, turns: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < turns; i++) {
    const body = JSON.stringify(hypotheticalBoot({ ...LISTED, appId: appId(Math.floor((i * apps) / turns)) }));
    const begun = performance.now();
    const answer = await post(port, agent, body);
    times.push(performance.now() - begun);
    if (!answer.includes('"isAllowed":true')) throw new Error(`expected to be allowed, got ${answer}`);
  }
  return times;
}

function post(port: number, agent: Agent, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: "127.0.0.1", port, path: "/bootAuth/app", method: "POST", agent, headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) } }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk)).once("end", () => resolve(text));
    });
    outgoing.once("error", reject).end(body);
  });
}
