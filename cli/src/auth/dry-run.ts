import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { dstackKmsAbi, endpoint, reasonOf, sendCall, type ContractCall, type Endpoint } from "@dstack/governance/chain";
import { createTestClient, http, parseEther, type Address } from "viem";
import { CliError } from "../terminal/errors.ts";

const START_TIMEOUT_MS = 60_000;

/** The local chain's program: of this checkout, or the one on PATH. */
export function anvilProgram(): string {
  try {
    return createRequire(import.meta.url).resolve("@foundry-rs/anvil-linux-amd64/bin/anvil");
  } catch {
    return "anvil";
  }
}

/**
 * Does everything on a copy of the chain's present state and throws the copy away. Nothing is signed: the copy
 * accepts calls from anybody, so they are made as the contracts' own owner unless a sender is named.
 * @throws CliError with the call that would fail and the contract's words
 */
export async function dryRun(
  list: readonly ContractCall[],
  options: {
    readonly rpcUrl: string;
    readonly anvil: string;
    readonly sender: Address | undefined;
    readonly kms: Address;
  },
): Promise<readonly string[]> {
  const fork = await startFork(options.anvil, options.rpcUrl);
  try {
    const { client } = endpoint(fork.url, START_TIMEOUT_MS);
    const control = createTestClient({ mode: "anvil", transport: http(fork.url, { timeout: START_TIMEOUT_MS }) });
    const lines: string[] = [];
    for (const call of list) {
      const sender =
        options.sender ??
        (await client
          .readContract({ address: call.to ?? options.kms, abi: dstackKmsAbi, functionName: "owner" })
          .catch(() => "0x000000000000000000000000000000000000dEaD" as const));
      await control.impersonateAccount({ address: sender });
      await control.setBalance({ address: sender, value: parseEther("1000") });
      const { gasUsed } = await sendCall(call, { client, account: sender, timeoutMs: START_TIMEOUT_MS });
      lines.push(`would ${call.title} as ${sender}: ${gasUsed} gas`);
    }
    return [...lines, `nothing was sent: this was tried on a copy of block ${fork.block}`];
  } catch (cause) {
    throw new CliError("denied", `the dry run failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
      hint: "nothing was sent",
    });
  } finally {
    fork.relay.close();
    fork.relay.closeAllConnections();
    if (fork.child.exitCode === null) {
      fork.child.kill("SIGKILL");
      await once(fork.child, "exit");
    }
  }
}

interface Fork {
  readonly url: string;
  readonly block: bigint;
  readonly child: ChildProcess;
  readonly relay: Server;
}

async function startFork(program: string, rpcUrl: string): Promise<Fork> {
  const origin = endpoint(rpcUrl, START_TIMEOUT_MS);
  const block = await origin.client.getBlockNumber().catch((cause: unknown) => {
    throw new CliError("failed", `the chain cannot be read: ${reasonOf(cause)}`, { cause });
  });
  const relay = await startRelay(origin);
  const source = `http://127.0.0.1:${(relay.address() as AddressInfo).port}`;
  const child = spawn(
    program,
    ["--port", "0", "--fork-url", source, "--fork-block-number", String(block), "--no-storage-caching"],
    { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env["PATH"], HOME: process.env["HOME"] } },
  );
  try {
    return { url: await listening(child), block, child, relay };
  } catch (error) {
    child.kill("SIGKILL");
    relay.close();
    throw error;
  }
}

/** Where anvil says that it listens. @throws CliError */
function listening(child: ChildProcess): Promise<string> {
  return new Promise<string>((resolve, reject) => {
    let text = "";
    const fail = (why: string): void =>
      reject(
        new CliError("failed", `anvil, on which a dry run is made, did not start: ${why}`, {
          hint: "npm ci in the checkout brings it",
        }),
      );
    const timer = setTimeout(() => fail("no answer in time"), START_TIMEOUT_MS);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (chunk: string) => {
        text = (text + chunk).slice(-8_000);
        const found = /Listening on ([\d.:]+)/.exec(text);
        if (found === null) return;
        clearTimeout(timer);
        resolve(`http://${found[1]}`);
      });
    }
    child
      .once("error", (error) => fail(error.message))
      .once("exit", () => fail(text.trim().split("\n").at(-1) ?? "it ended"));
  });
}

/** The endpoint's address may hold a key, which must not show in the list of processes: anvil gets this one. */
async function startRelay(origin: Endpoint): Promise<Server> {
  const relay = createServer((request, response) => {
    const parts: Buffer[] = [];
    request
      .on("data", (part: Buffer) => parts.push(part))
      .once("end", () => {
        origin
          .post(Buffer.concat(parts).toString("utf8"))
          .then(({ status, text }) => response.writeHead(status, { "content-type": "application/json" }).end(text))
          .catch(() => response.writeHead(502).end());
      });
  });
  await once(relay.listen(0, "127.0.0.1"), "listening");
  return relay;
}
