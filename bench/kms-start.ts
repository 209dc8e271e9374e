import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundleProgram } from "@dstack/image/builder";

const ROOT = join(import.meta.dirname, "..");
const PROGRAM = "services/kms/src/main.ts";
const SETTLE_MS = 1_500;

/** MiB of a process. */
interface Memory {
  readonly resident: number;
  /** Pages that nobody else has: what the machine gets back when it ends. */
  readonly own: number;
  /** Its own, and of each page that processes share its part: all that run Node share Node's. */
  readonly share: number;
}

/**
 * Memory of a KMS that has started and was asked nothing, as its own process: from a checkout, and as the one file that
 * a container image holds. Beside it what Node takes with nothing to run, and with nothing but a file of TypeScript.
 */
export async function startMemory(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "bench-kms-start-"));
  try {
    const [nothing, typescript, oneFile] = ["nothing.mjs", "nothing.ts", "kms.mjs"].map((name) => join(folder, name));
    const idle = 'console.log("listening"); setInterval(() => undefined, 1_000);';
    await writeFile(nothing!, idle);
    await writeFile(typescript!, `const idle: string = "";\n${idle}`);
    await writeFile(oneFile!, await bundleProgram(ROOT, PROGRAM));
    const config = join(folder, "kms.toml");
    await writeFile(
      config,
      [
        'rpc = { address = "127.0.0.1", port = 0 }',
        "[core]",
        `cert_dir = "${folder}/keys"`,
        'auth_api = { type = "dev" }',
        "image = { verify = false }",
        'onboard = { quote_enabled = false, auto_bootstrap_domain = "kms.example.com" }',
      ].join("\n"),
    );
    console.log("\nmemory at start, nothing asked yet");
    for (const [name, args, note] of [
      ["Node alone", [nothing!], ""],
      ["Node with a file of TypeScript", [typescript!], ""],
      ["KMS from a checkout", [join(ROOT, PROGRAM), "-c", config], ""],
      ["KMS as one file (npm run bundle)", [oneFile!, "-c", config], "; aim 90 resident"],
    ] as const) {
      const { resident, own, share } = await memoryOf(args);
      console.log(
        `${name.padEnd(44)} ${resident.toFixed(0).padStart(6)} MiB resident  ${own.toFixed(0).padStart(4)} its own  ${share.toFixed(0).padStart(4)} with its part of shared pages${note}`,
      );
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** @throws Error where it ends before it listens */
async function memoryOf(args: readonly string[]): Promise<Memory> {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  try {
    let said = "";
    await new Promise<void>((resolve, reject) => {
      const read = (chunk: Buffer): void => {
        said += chunk.toString();
        if (said.includes("listening")) resolve();
      };
      child.stdout.on("data", read);
      child.stderr.on("data", read);
      child.once("exit", () => reject(new Error(`it ended before it listened: ${said.slice(-500)}`)));
    });
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const sums = await readFile(`/proc/${child.pid}/smaps_rollup`, "utf8");
    const mebibytes = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(sums)?.[1]) / 1024;
    return {
      resident: mebibytes("Rss"),
      own: mebibytes("Private_Clean") + mebibytes("Private_Dirty"),
      share: mebibytes("Pss"),
    };
  } finally {
    const ended = once(child, "exit");
    if (child.exitCode === null && child.signalCode === null && child.kill("SIGKILL")) await ended;
  }
}
