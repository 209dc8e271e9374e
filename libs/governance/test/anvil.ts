import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { once } from "node:events";
import { createTestClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

/** The binary from npm, or undefined on machines it is not made for. */
export function anvilPath(): string | undefined {
  try {
    const path = createRequire(import.meta.url).resolve("@foundry-rs/anvil-linux-amd64/bin/anvil");
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

// The published keys of anvil's first accounts: worth nothing anywhere else.
const KEYS = [
  "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
  "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
] as const;

/** The first accounts of every anvil, as hex of their keys and as accounts. */
export const accountKeys = KEYS;
export const accounts = KEYS.map((key) => privateKeyToAccount(key)) as [
  ReturnType<typeof privateKeyToAccount>,
  ReturnType<typeof privateKeyToAccount>,
];

/** A local chain of our own. */
export class Anvil {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.url = url;
  }

  static async start(args: readonly string[] = []): Promise<Anvil> {
    const child = spawn(
      anvilPath() ?? "anvil",
      ["--port", "0", "--chain-id", "1337", "--slots-in-an-epoch", "1", ...args],
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    const url = await new Promise<string>((resolve, reject) => {
      let text = "";
      child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
        const found = /Listening on ([\d.:]+)/.exec(text);
        if (found !== null) resolve(`http://${found[1]}`);
      });
      child.once("error", reject).once("exit", () => reject(new Error(`anvil ended: ${text}`)));
    });
    return new Anvil(child, url);
  }

  /** For mining, snapshots and going back. */
  get control() {
    return createTestClient({ mode: "anvil", transport: http(this.url) });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}
