/** WireGuard outside the kernel: the program wireguard-go as a child of ours, asked on its UAPI socket. */
import { spawn, type ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { terminate } from "@dstack/process";
import { WireGuardError } from "./errors.ts";
import { uapiExchange } from "./uapi.ts";

export interface WireGuardGo {
  /** Waits until it answers. @throws WireGuardError `interface-failed` when it ended or takes too long */
  answering(): Promise<void>;
  stop(): Promise<void>;
  /** From now on this process may end without it. */
  unref(): void;
}

const START_TIMEOUT_MS = 10_000;

export const userspaceSocket = (name: string): string => `/var/run/wireguard/${name}.sock`;

/** Starts it for an interface. @param onLost called once when it ends by itself */
export function startWireGuardGo(name: string, onLost: ((error: WireGuardError) => void) | undefined): WireGuardGo {
  // Its own process group: Ctrl-C on a terminal must reach it only through us.
  const child = spawn("wireguard-go", ["-f", name], {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
    env: { PATH: process.env["PATH"], LOG_LEVEL: "error" },
  });
  let ended: string | undefined;
  let stopping = false;
  let tail = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    tail = (tail + chunk.toString()).slice(-2_000);
  });
  child.once("error", (error: NodeJS.ErrnoException) => {
    ended =
      error.code === "ENOENT"
        ? "it is not installed (Debian package wireguard-go), and this kernel has no WireGuard"
        : error.message;
  });
  child.once("exit", (code, signal) => {
    ended ??= `it ended with ${signal ?? `code ${code}`}: ${tail.trim()}`;
    if (!stopping)
      onLost?.(new WireGuardError("interface-failed", `wireguard-go for ${name} ended by itself: ${ended}`));
  });
  return {
    answering: () => untilItAnswers(userspaceSocket(name), () => ended),
    stop: async () => {
      stopping = true;
      if (child.pid !== undefined && ended === undefined) await terminate(child.pid);
    },
    unref: () => unreference(child),
  };
}

/** Whether a wireguard-go answers there: not yet and no longer are answers too. */
export async function responds(socketPath: string): Promise<boolean> {
  try {
    await uapiExchange(socketPath, "get=1\n", 1_000);
    return true;
  } catch {
    return false; // The caller asks again until its deadline.
  }
}

async function untilItAnswers(socketPath: string, ended: () => string | undefined): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const why = ended();
    if (why !== undefined) throw new WireGuardError("interface-failed", `wireguard-go could not be started: ${why}`);
    if (await responds(socketPath)) return;
    if (Date.now() > deadline)
      throw new WireGuardError(
        "interface-failed",
        `wireguard-go did not answer at ${socketPath} within ${START_TIMEOUT_MS} ms`,
      );
    await sleep(20);
  }
}

function unreference(child: ChildProcess): void {
  child.unref();
  (child.stderr as unknown as { unref?: () => void } | null)?.unref?.();
}
