import { VerifierError } from "./errors.ts";

/** Lets a few tasks run at a time, keeps some waiting, and turns the rest away. */
export interface Gate {
  /** @throws VerifierError `overloaded` where too many wait already; whatever the task throws */
  <T>(task: () => Promise<T>): Promise<T>;
}

export function gate(limits: { readonly running: number; readonly waiting: number }): Gate {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (task) => {
    if (running >= limits.running) {
      if (waiting.length >= limits.waiting)
        throw new VerifierError("overloaded", `${limits.waiting} verifications wait already; try again later`);
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running++;
    }
    try {
      return await task();
    } finally {
      // The slot goes to the one that waits longest, without being free in between.
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
}
