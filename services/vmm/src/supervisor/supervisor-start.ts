import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@dstack/log";
import { VmmError } from "../errors.ts";
import { supervisorClient, type SupervisorClient } from "./supervisor-client.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

const PING_TIMEOUT_MS = 500;
const PING_ATTEMPTS = 12;
const START_ATTEMPTS = 4;

// Run by path and never imported: the supervisor is a process of its own, not a part of this one.
const OWN_SUPERVISOR = join(import.meta.dirname, "../../../supervisor/src/main.ts");

/**
 * The running supervisor, or a new one where none answers. Whatever VMs it has go on.
 * @throws VmmError `supervisor-failed`
 */
export async function connectSupervisor(config: VmmConfig["supervisor"], log: Logger): Promise<SupervisorClient> {
  const client = supervisorClient(config.sock);
  await ensureSupervisor(client, config, log);
  return client;
}

/** Starts a supervisor unless one answers. @throws VmmError `supervisor-failed` */
export async function ensureSupervisor(
  client: SupervisorClient,
  config: VmmConfig["supervisor"],
  log: Logger,
): Promise<"running" | "started"> {
  if (await client.ping(PING_TIMEOUT_MS)) return "running";
  if (!config.autoStart)
    throw new VmmError("supervisor-failed", `Failed to connect to supervisor at unix:${config.sock}`);
  await mkdir(dirname(config.sock), { recursive: true });
  let trouble = "";
  for (let attempt = 1; attempt <= START_ATTEMPTS; attempt++) {
    const outcome = await startOnce(client, config);
    if (outcome.started) {
      log.info({ socket: config.sock }, "supervisor started");
      return "started";
    }
    trouble = outcome.trouble;
    // A supervisor that was just killed holds its lock until the system has reaped it.
    await sleep(500 * attempt);
  }
  throw new VmmError(
    "supervisor-failed",
    `failed to connect to supervisor at unix:${config.sock}${trouble === "" ? "" : `: ${trouble.trim()}`}`,
  );
}

async function startOnce(
  client: SupervisorClient,
  config: VmmConfig["supervisor"],
): Promise<{ started: boolean; trouble: string }> {
  const [program = "", ...first] = config.exe === "" ? [process.execPath, "--", OWN_SUPERVISOR] : [config.exe];
  const args = [...first, "--uds", config.sock, "--pid-file", config.pidFile, "--log-file", config.logFile];
  const child = spawn(program, args, { detached: config.detached, stdio: ["ignore", "ignore", "pipe"] });
  let trouble = "";
  child.stderr.on("data", (chunk: Buffer) => (trouble = (trouble + chunk.toString()).slice(-2_000)));
  child.once("error", (error) => (trouble = error.message));
  for (let attempt = 1; attempt <= PING_ATTEMPTS && child.exitCode === null && child.signalCode === null; attempt++) {
    if (await client.ping(PING_TIMEOUT_MS)) {
      child.stderr.destroy();
      child.unref();
      return { started: true, trouble };
    }
    await sleep(100 * attempt);
  }
  return { started: await client.ping(PING_TIMEOUT_MS), trouble };
}
