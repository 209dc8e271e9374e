import { VerifierError } from "./errors.ts";

/** Lets a few tasks run at a time, keeps some waiting, and turns the rest away. Who gives up waiting leaves its place. */
export interface Gate {
  /** @throws VerifierError `overloaded` where too many wait already; the signal's reason; whatever the task throws */
  <T>(task: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

export function gate(limits: { readonly running: number; readonly waiting: number }): Gate {
  let running = 0;
  const waiting = new Set<() => void>();
  const turn = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const leave = (): void => {
        waiting.delete(enter);
        signal.removeEventListener("abort", giveUp);
      };
      const enter = (): void => {
        leave();
        resolve();
      };
      const giveUp = (): void => {
        leave();
        reject(signal.reason as Error);
      };
      waiting.add(enter);
      signal.addEventListener("abort", giveUp, { once: true });
    });
  return async (task, signal) => {
    signal.throwIfAborted();
    if (running >= limits.running) {
      if (waiting.size >= limits.waiting)
        throw new VerifierError("overloaded", `${limits.waiting} verifications wait already; try again later`);
      await turn(signal);
    } else {
      running++;
    }
    try {
      return await task();
    } finally {
      // The slot goes to the one that waits longest, without being free in between.
      const [next] = waiting;
      if (next === undefined) running--;
      else next();
    }
  };
}
