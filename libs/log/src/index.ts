/**
 * One event per line: JSON, or human-readable on a terminal.
 * Levels: error = an operator must act; warn = degraded; info = state change; debug = the rest.
 */
export { createLogger } from "./logger.ts";
export type { Logger, LoggerOptions } from "./logger.ts";
export { outliveStrays } from "./outlive-strays.ts";
