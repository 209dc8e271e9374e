import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MAIN = join(import.meta.dirname, "../services/kms/src/main.ts");
const SETTLE_MS = 1_500;

interface Resident {
  readonly all: number;
  /** Pages of files, the program's own among them: processes of one machine share them. */
  readonly ofFiles: number;
}

/**
 * Resident memory of a KMS that has started and was asked nothing, as its own process, beside what Node takes with
 * nothing to run, and with nothing but a file of TypeScript.
 */
export async function startMemory(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "bench-kms-start-"));
  try {
    const [nothing, typescript, config] = ["nothing.mjs", "nothing.ts", "kms.toml"].map((name) => join(folder, name));
    const idle = 'console.log("listening"); setInterval(() => undefined, 1_000);';
    await writeFile(nothing!, idle);
    await writeFile(typescript!, `const idle: string = "";\n${idle}`);
    await writeFile(
      config!,
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
    const line = (name: string, { all, ofFiles }: Resident): void =>
      console.log(
        `${name.padEnd(44)} ${all.toFixed(0).padStart(6)} MiB  of them ${ofFiles.toFixed(0)} MiB pages of files, which processes share`,
      );
    const node = await residentOf([nothing!]);
    const stripping = await residentOf([typescript!]);
    const kms = await residentOf([MAIN, "-c", config!]);
    line("Node alone", node);
    line("Node with a file of TypeScript", stripping);
    line("KMS", kms);
    console.log(
      `${"KMS, without Node and its TypeScript".padEnd(44)} ${(kms.all - stripping.all).toFixed(0).padStart(6)} MiB; aim for all of it 90`,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** @throws Error where it ends before it listens */
async function residentOf(args: readonly string[]): Promise<Resident> {
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
    const status = await readFile(`/proc/${child.pid}/status`, "utf8");
    const mebibytes = (key: string): number =>
      Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1024;
    return { all: mebibytes("VmRSS"), ofFiles: mebibytes("RssFile") };
  } finally {
    const ended = once(child, "exit");
    if (child.exitCode === null && child.signalCode === null && child.kill("SIGKILL")) await ended;
  }
}
