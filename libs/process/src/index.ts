/** Child processes with a deadline, bounded output and secrets on standard input only. */
export { ProcessError, run } from "./run.ts";
export type { RunOptions, RunResult } from "./run.ts";
export { isAlive, terminate } from "./terminate.ts";
