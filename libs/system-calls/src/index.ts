/** The kernel's calls that Node lacks, by node:ffi, and whether this process can make them. */
export { systemCalls } from "./system-calls.ts";
export type { SystemCalls } from "./system-calls.ts";
export { SystemCallError } from "./errors.ts";
