import { excerpt } from "@dstack/errors";
import type { Logger } from "./logger.ts";

/**
 * The last line of defence of a process that serves: a failure that nobody handled is logged at level
 * error, and the process goes on (DS #1232: no request may end it). Each such line is a fault of ours.
 * @param onStray told of it too
 */
export function outliveStrays(log: Logger, onStray?: (event: StrayEvent, error: unknown) => void): void {
  for (const event of ["unhandledRejection", "uncaughtException"] as const) {
    process.on(event, (error: unknown) => {
      log.error({ event, error: describe(error) }, "a failure that nobody handled");
      onStray?.(event, error);
    });
  }
}

export type StrayEvent = "unhandledRejection" | "uncaughtException";

const MAX_STACK_CHARS = 4_000;

/** The message may be a stranger's text; where it came to pass is ours, and begins behind it. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return excerpt(String(error));
  const { name, message, stack = "" } = error;
  const at = stack.indexOf(message);
  const places = at === -1 ? "" : stack.slice(at + message.length, at + message.length + MAX_STACK_CHARS);
  return `${excerpt(name)}: ${excerpt(message)}${places}`;
}
