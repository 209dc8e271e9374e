import type { Logger } from "./logger.ts";

/**
 * The last line of defence of a process that serves: a failure that nobody handled is logged at level
 * error, and the process goes on (DS #1232: no request may end it). Each such line is a fault of ours.
 * @param onStray told of it too
 */
export function outliveStrays(log: Logger, onStray?: (event: StrayEvent, error: unknown) => void): void {
  for (const event of ["unhandledRejection", "uncaughtException"] as const) {
    process.on(event, (error: unknown) => {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      log.error({ event, error: text.slice(0, MAX_CHARS) }, "a failure that nobody handled");
      onStray?.(event, error);
    });
  }
}

export type StrayEvent = "unhandledRejection" | "uncaughtException";

const MAX_CHARS = 4_000;
