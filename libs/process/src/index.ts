/** Child processes with a deadline, bounded output and secrets on standard input only. */
export { ProcessError } from "./errors.ts";
export { run } from "./run.ts";
export type { RunOptions, RunResult } from "./run.ts";
export { processStartTime } from "./start-time.ts";
export { terminate } from "./terminate.ts";
