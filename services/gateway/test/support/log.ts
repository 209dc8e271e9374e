import { createLogger, type Logger } from "@dstack/log";

/** A logger that keeps its lines. */
export function memoryLog(): { readonly log: Logger; readonly lines: string[] } {
  const lines: string[] = [];
  return { log: createLogger({ name: "test", level: "debug", stream: { write: (text) => lines.push(text) } }), lines };
}
