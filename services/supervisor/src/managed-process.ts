import { spawn } from "node:child_process";
import { constants, type FileHandle, open } from "node:fs/promises";
import { writeFileAtomic } from "@dstack/files";
import { SupervisorError } from "./errors.ts";
import { identityOf, lives, type ProcessIdentity } from "./proc.ts";
import type { ProcessConfig } from "./process-config.ts";

/** A process that runs, whether we started it or a supervisor before us did. */
export interface LiveProcess {
  readonly identity: ProcessIdentity;
  /** The raw wait status, or undefined for a process that is not our child. */
  readonly exited: Promise<number | undefined>;
  kill(): void;
}

const WATCH_INTERVAL_MS = 500;
const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
};

/**
 * Starts a process in a session of its own, its output going straight to its files: it needs
 * nothing of us to go on running.
 * @throws SupervisorError `not-spawned`
 */
export async function spawnProcess(config: ProcessConfig): Promise<LiveProcess> {
  const files: FileHandle[] = [];
  try {
    const stdout = await openOutput(config.stdout, files);
    const stderr = await openOutput(config.stderr, files);
    const child = spawn(config.command, config.args, {
      detached: true,
      stdio: ["ignore", stdout, stderr],
      env: { ...process.env, ...config.env },
      ...(config.cwd === "" ? {} : { cwd: config.cwd }),
    });
    const exited = new Promise<number>((resolve) => {
      child.once("exit", (code, signal) => resolve(signal === null ? (code ?? 0) << 8 : (SIGNAL_NUMBERS[signal] ?? 0)));
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    const pid = child.pid ?? 0;
    child.on("error", () => undefined); // A failed kill of a process that is gone.
    // Gone already: an identity that nothing will ever match again.
    const identity = identityOf(pid) ?? { bootId: "", pid, startTicks: "" };
    if (config.pidfile !== "") await writeFileAtomic(config.pidfile, String(pid), { mode: 0o644 });
    return { identity, exited, kill: () => killGroup(identity) };
  } catch (cause) {
    throw new SupervisorError(
      "not-spawned",
      `failed to spawn ${config.command}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  } finally {
    for (const file of files) await file.close();
  }
}

/** A process of an earlier supervisor; undefined when it no longer lives. */
export function adoptProcess(identity: ProcessIdentity): LiveProcess | undefined {
  if (!lives(identity)) return undefined;
  const exited = new Promise<undefined>((resolve) => {
    const timer = setInterval(() => {
      if (lives(identity)) return;
      clearInterval(timer);
      resolve(undefined);
    }, WATCH_INTERVAL_MS);
    timer.unref();
  });
  return { identity, exited, kill: () => killGroup(identity) };
}

async function openOutput(path: string, files: FileHandle[]): Promise<number | "ignore"> {
  if (path === "") return "ignore";
  // Appending writers survive a rotation that cuts the file in place.
  const file = await open(
    path,
    constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW,
    0o600,
  );
  files.push(file);
  return file.fd;
}

/** The whole session of the process: under `sudo` or `taskset` the VM is a child of what we started. */
function killGroup(identity: ProcessIdentity): void {
  if (!lives(identity)) return;
  try {
    process.kill(-identity.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
