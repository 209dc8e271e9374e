import { spawn, type ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@dstack/log";

/** A program that runs as long as the guest does. */
export interface Daemon {
  /** The last lines that it wrote. */
  tail(): string;
  /** Ends it and does not start it again. */
  stop(graceMs: number): Promise<void>;
}

const TAIL_BYTES = 8_192;
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 60_000;

/**
 * Starts a program and starts it again, with growing pauses, whenever it ends by itself.
 * @param args asked for at each start
 */
export function startDaemon(program: string, args: () => readonly string[], log: Logger): Daemon {
  let tail = "";
  let child: ChildProcess | undefined;
  let ended = Promise.resolve();
  const stopping = new AbortController();

  const runOnce = (): Promise<void> =>
    new Promise((resolve) => {
      const started = spawn(program, args(), { stdio: ["ignore", "pipe", "pipe"], detached: true });
      child = started;
      const keep = (chunk: Buffer): void => {
        tail = (tail + chunk.toString()).slice(-TAIL_BYTES);
      };
      started.stdout.on("data", keep);
      started.stderr.on("data", keep);
      started.once("error", (error) => {
        tail = (tail + error.message).slice(-TAIL_BYTES);
        resolve();
      });
      started.once("close", () => resolve());
    });

  const keepRunning = async (): Promise<void> => {
    let pauseMs = FIRST_PAUSE_MS;
    while (!stopping.signal.aborted) {
      await runOnce();
      if (stopping.signal.aborted) return;
      log.error({ program, output: lastLines(tail, 5) }, "a daemon ended; starting it again");
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS);
    }
  };
  ended = keepRunning();

  return {
    tail: () => lastLines(tail, 10),
    stop: async (graceMs) => {
      stopping.abort();
      child?.kill("SIGTERM");
      const timer = setTimeout(() => child?.kill("SIGKILL"), graceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

const lastLines = (text: string, count: number): string => text.trim().split("\n").slice(-count).join("\n");
