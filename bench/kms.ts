import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { healthUnderLogs } from "./kms-health.ts";
import { startMemory } from "./kms-start.ts";
import type { Ask, ClientIdentity, Ready, Stages, Usage } from "./kms-messages.ts";

const FULL = { rounds: 7, requests: 60, warmUp: 300, publicRequests: 400, probes: 300, boots: 1_000, bootRounds: 3 };
const QUICK = { rounds: 1, requests: 20, warmUp: 10, publicRequests: 20, probes: 20, boots: 50, bootRounds: 2 };
const CONCURRENCY = 16;
const REQUEST_TIMEOUT_MS = 120_000;

/**
 * GetAppKey over a new mutual TLS connection each, from the client's certificate to the answer, beside
 * Node's bare TLS server under the same load and the bare cryptography. Rates are of one core: the
 * server's own CPU time counts, so that neither the clients nor other work on the machine do.
 */
export async function kms(args: readonly string[]): Promise<void> {
  const effort = args.includes("--quick") ? QUICK : FULL;
  const child = fork(join(import.meta.dirname, "kms-server.ts"), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  try {
    const [ready] = (await once(child, "message")) as [Ready];
    const ask = asker(child);
    const load = (port: number, path: string, count: number, concurrency = CONCURRENCY): Promise<void> =>
      run({ port, path, body: ready.body, identities: ready.identities, count, concurrency });
    const contestants = [
      { port: ready.kmsPort, path: GET_APP_KEY, isCold: false },
      { port: ready.kmsPort, path: GET_APP_KEY, isCold: true },
      { port: ready.barePort, path: "/", isCold: false },
    ];
    for (const { port, path } of contestants) await load(port, path, effort.warmUp);
    const turns: Measured[][] = contestants.map(() => []);
    for (let round = 0; round < effort.rounds; round++) {
      for (const [index, { port, path, isCold }] of contestants.entries()) {
        await ask({ kind: "collateral", isCold });
        const before = (await ask({ kind: "usage" })) as Usage;
        const begun = performance.now();
        await load(port, path, effort.requests);
        const wallMs = performance.now() - begun;
        const after = (await ask({ kind: "usage" })) as Usage;
        turns[index]!.push({
          cpuMs: (after.cpuMs - before.cpuMs) / effort.requests,
          perSecond: (1000 * effort.requests) / wallMs,
        });
      }
    }
    const [cached, cold, tls] = turns.map(median) as [Measured, Measured, Measured];
    const stages = (await ask({ kind: "stages" })) as Stages;
    report(cached, cold, tls, stages);
    await ask({ kind: "collateral", isCold: false });
    await publicCalls(effort, ask, ready.kmsPort);
    const cpuMs = async (): Promise<number> => ((await ask({ kind: "usage" })) as Usage).cpuMs;
    await healthUnderLogs(ready.kmsPort, effort.probes, cpuMs);
    await memory(effort, ask, (count) => load(ready.kmsPort, GET_APP_KEY, count, count));
    const ended = once(child, "exit");
    await ask({ kind: "stop" });
    await ended;
    await startMemory();
  } finally {
    if (child.exitCode === null) child.kill("SIGKILL");
  }
}

const GET_APP_KEY = "/prpc/GetAppKey?json";

interface Measured {
  /** CPU milliseconds of the server for one request. */
  readonly cpuMs: number;
  /** As the clients saw it, on this machine as it was. */
  readonly perSecond: number;
}

/** The round in the middle, by CPU time. */
const median = (all: readonly Measured[]): Measured => all.toSorted((a, b) => a.cpuMs - b.cpuMs)[all.length >> 1]!;

function report(cached: Measured, cold: Measured, tls: Measured, stages: Stages): void {
  const line = (name: string, { cpuMs, perSecond }: Measured): void =>
    console.log(
      `${name.padEnd(44)} ${(1000 / cpuMs).toFixed(0).padStart(6)} /s a core  ${cpuMs.toFixed(2).padStart(7)} ms CPU  ${perSecond.toFixed(0).padStart(6)} /s seen by ${CONCURRENCY} clients`,
    );
  console.log("requests, each over a new mutual TLS connection");
  line("GetAppKey, collateral cached", cached);
  line("GetAppKey, collateral verified anew", cold);
  line("bare TLS server, same connections", tls);
  const ms = (name: string, value: number, note = ""): void =>
    console.log(`${name.padEnd(44)} ${value.toFixed(3).padStart(9)} ms${note === "" ? "" : `  ${note}`}`);
  console.log("\nparts of one GetAppKey, each by itself; CPU time unless it says otherwise");
  ms("TLS and HTTP (bare server)", tls.cpuMs);
  ms("verification, collateral cached", stages.verificationCached, `${stages.verifiesCached} P-256 verifications`);
  ms("verification, collateral anew", stages.verificationCold, `${stages.verifiesCold} P-256 verifications`);
  ms("auth server", stages.auth, "wall, it waits");
  ms("derivation", stages.derivation);
  ms("signing", stages.signing);
  ms("audit line and flush, alone", stages.auditAlone, "wall, it waits");
  ms("audit line and flush, 64 together", stages.auditTogether, "wall for each");
  // OpenSSL has no quick secp256k1, so the library that we use may be the barer of the two.
  const others = tls.cpuMs + stages.bareDerivation + Math.min(stages.signing, stages.bareSigning);
  const bareCached = others + stages.verifiesCached * stages.bareVerify;
  const bareCold = others + stages.verifiesCold * stages.bareVerify;
  console.log(
    "\nbeside the bare cryptography: the same TLS connections, P-256 verifications and keys by OpenSSL, and the secp256k1 key and signature",
  );
  ms("P-256 verification", stages.bareVerify);
  ms("two P-256 keys", stages.bareDerivation);
  ms("secp256k1 key and signature by OpenSSL", stages.bareSigning);
  const ratio = (name: string, ours: number, theirs: number): void =>
    console.log(
      `${name.padEnd(44)} ${(ours / theirs).toFixed(2).padStart(9)} x   ${ours.toFixed(2)} of ${theirs.toFixed(2)} ms CPU; aim 1.7`,
    );
  ratio("GetAppKey, collateral cached", cached.cpuMs, bareCached);
  ratio("GetAppKey, collateral verified anew", cold.cpuMs, bareCold);
}

/** What anybody may ask, over connections that are kept: the CPU time of each call beside that of GetMeta, which signs nothing. */
async function publicCalls(effort: typeof FULL, ask: Asker, port: number): Promise<void> {
  const anotherApp = (): string => randomBytes(20).toString("hex");
  const contestants: readonly { readonly name: string; readonly path: () => string }[] = [
    { name: "GetMeta", path: () => "/prpc/GetMeta?json" },
    { name: "GetAppEnvEncryptPubKey, one app", path: () => `/prpc/GetAppEnvEncryptPubKey?app_id=${"a1".repeat(20)}` },
    {
      name: "GetAppEnvEncryptPubKey, another app each",
      path: () => `/prpc/GetAppEnvEncryptPubKey?app_id=${anotherApp()}`,
    },
  ];
  const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY, rejectUnauthorized: false });
  try {
    const turns: number[][] = contestants.map(() => []);
    for (let round = 0; round <= effort.rounds; round++) {
      for (const [index, { path }] of contestants.entries()) {
        const before = (await ask({ kind: "usage" })) as Usage;
        let left = effort.publicRequests;
        const worker = async (): Promise<void> => {
          while (left-- > 0) await get(agent, port, path());
        };
        await Promise.all(Array.from({ length: CONCURRENCY }, worker));
        const after = (await ask({ kind: "usage" })) as Usage;
        // The first round opens the connections.
        if (round > 0) turns[index]!.push((after.cpuMs - before.cpuMs) / effort.publicRequests);
      }
    }
    const medians = turns.map((times) => times.toSorted((a, b) => a - b)[times.length >> 1]!);
    const [meta = 0] = medians;
    console.log("\nwhat anybody may ask, over kept connections");
    for (const [index, { name }] of contestants.entries()) {
      const cpuMs = medians[index]!;
      console.log(
        `${name.padEnd(44)} ${(1000 / cpuMs).toFixed(0).padStart(6)} /s a core  ${cpuMs.toFixed(2).padStart(7)} ms CPU  ${(meta / cpuMs).toFixed(2).padStart(6)} of GetMeta's rate${index === 0 ? "" : "; aim 0.25"}`,
      );
    }
  } finally {
    agent.destroy();
  }
}

function get(agent: Agent, port: number, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path, agent, timeout: REQUEST_TIMEOUT_MS }, (response) => {
      response
        .resume()
        .once("end", () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`)),
        );
    })
      .once("error", reject)
      .end();
  });
}

/** Resident memory while so many guests boot at once, again and again. */
async function memory(effort: typeof FULL, ask: Asker, boot: (count: number) => Promise<void>): Promise<void> {
  const mebibytes = async (): Promise<number> => ((await ask({ kind: "usage" })) as Usage).rssBytes / 2 ** 20;
  console.log(`\nmemory of the server process (KMS, collateral and image server), ${effort.boots} boots at once`);
  console.log(`before ${(await mebibytes()).toFixed(0)} MiB`);
  for (let round = 1; round <= effort.bootRounds; round++) {
    let peak = 0;
    const over = new AbortController();
    const watching = (async () => {
      while (!over.signal.aborted) {
        peak = Math.max(peak, await mebibytes());
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    const begun = performance.now();
    await boot(effort.boots);
    const seconds = (performance.now() - begun) / 1000;
    over.abort();
    await watching;
    console.log(
      `round ${round}: peak ${peak.toFixed(0)} MiB, afterwards ${(await mebibytes()).toFixed(0)} MiB, ${seconds.toFixed(1)} s for all`,
    );
  }
}

type Asker = (ask: Ask) => Promise<unknown>;

/** Answers come in the order of the questions. */
function asker(child: ChildProcess): Asker {
  const waiting: { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }[] = [];
  child.on("message", (value) => waiting.shift()?.resolve(value));
  child.once("exit", () => waiting.splice(0).forEach(({ reject }) => reject(new Error("the server process ended"))));
  return (ask) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.send(ask);
    });
}

interface Load {
  readonly port: number;
  readonly path: string;
  readonly body: string;
  readonly identities: readonly ClientIdentity[];
  readonly count: number;
  readonly concurrency: number;
}

async function run({ port, path, body, identities, count, concurrency }: Load): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await post(port, path, body, identities[next++ % identities.length]!);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}

/** One request over a connection of its own. @throws Error unless the answer is 200 */
function post(port: number, path: string, body: string, { certificatePem, keyPem }: ClientIdentity): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: "127.0.0.1",
        port,
        path,
        method: "POST",
        agent: false,
        cert: certificatePem,
        key: keyPem,
        rejectUnauthorized: false,
        timeout: REQUEST_TIMEOUT_MS,
        headers: { "content-length": Buffer.byteLength(body), connection: "close" },
      },
      (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
        response.on("end", () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}: ${text}`)),
        );
        response.on("error", reject);
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer within ${REQUEST_TIMEOUT_MS} ms`)));
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}
