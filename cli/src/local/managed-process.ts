import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { processStartTime } from "@dstack/process";
import { CliError } from "../terminal/errors.ts";

export interface ProcessSpec {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly logFile: string;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export interface ManagedProcess {
  readonly name: string;
  readonly pid: number;
  /** Start time in clock ticks since boot: with the pid it names the process for good. */
  readonly startTime: string;
  readonly logFile: string;
  /** How it ended, once it has. */
  readonly ended: () => string | undefined;
}

/**
 * Starts a daemon in its own process group, so that Ctrl-C reaches the command first and the
 * daemons are stopped in order. Its output goes to the log file.
 * @throws CliError when it cannot be started
 */
export async function startProcess(spec: ProcessSpec): Promise<ManagedProcess> {
  const log = openSync(spec.logFile, "a", 0o600);
  let child: ChildProcess;
  try {
    child = spawn(spec.program, spec.args, {
      stdio: ["ignore", log, log],
      detached: true,
      ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
      env: spec.env ?? process.env,
    });
  } finally {
    closeSync(log);
  }
  let ended: string | undefined;
  child.once("exit", (code, signal) => (ended = signal ?? `code ${code}`));
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        new CliError(
          "failed",
          `${spec.name}: ${spec.program} ${cause.code === "ENOENT" ? "is not installed" : cause.message}`,
          { cause, hint: "run `dstack doctor` to see what is missing" },
        ),
      ),
    );
  });
  child.unref();
  const pid = child.pid ?? 0;
  return { name: spec.name, pid, startTime: processStartTime(pid) ?? "", logFile: spec.logFile, ended: () => ended };
}

/**
 * Waits until `ready` answers true.
 * @throws CliError with the last lines of the process's log when it ends first or the deadline passes
 */
export async function waitReady(
  child: ManagedProcess,
  ready: () => Promise<boolean>,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await ready())) {
    signal?.throwIfAborted();
    const end = child.ended();
    if (end !== undefined)
      throw new CliError("failed", `${child.name} ended with ${end}:\n${await lastLines(child.logFile, 8)}`, {
        hint: `its log: ${child.logFile}`,
      });
    if (Date.now() > deadline)
      throw new CliError(
        "failed",
        `${child.name} did not become ready within ${timeoutMs / 1000} s:\n${await lastLines(child.logFile, 8)}`,
        { hint: `its log: ${child.logFile}` },
      );
    await sleep(100);
  }
}

/** Whether the recorded process still runs, and is not another one that got its number. */
export function isRunning(record: { readonly pid: number; readonly startTime: string }): boolean {
  return processStartTime(record.pid) === record.startTime;
}

/** SIGTERM, then SIGKILL to the whole group after `graceMs`; returns once it is gone. */
export async function stopProcess(
  record: { readonly pid: number; readonly startTime: string },
  graceMs = 10_000,
): Promise<void> {
  for (const [signal, waitMs] of [
    ["SIGTERM", graceMs],
    ["SIGKILL", 5_000],
  ] as const) {
    if (!isRunning(record)) return;
    try {
      process.kill(signal === "SIGKILL" ? -record.pid : record.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
    const deadline = Date.now() + waitMs;
    while (isRunning(record) && Date.now() < deadline) await sleep(50);
  }
}

async function lastLines(path: string, count: number): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text
    .trimEnd()
    .split("\n")
    .slice(-count)
    .map((line) => `    ${readable(line)}`)
    .join("\n");
}

/** A JSON log line as `level message (error)`. */
function readable(line: string): string {
  try {
    const event = JSON.parse(line) as Record<string, unknown>;
    return `${String(event["level"])} ${String(event["msg"])}${event["error"] === undefined ? "" : `: ${String(event["error"])}`}`;
  } catch {
    return line.slice(0, 400);
  }
}
