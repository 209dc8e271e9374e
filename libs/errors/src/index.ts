/** The error that every package of ours throws: a stable code, facts, a text, the cause. */
export { CodedError, isCoded } from "./coded-error.ts";
export type { CodedErrorOptions, Facts } from "./coded-error.ts";
export { errorChain } from "./error-chain.ts";
export type { ErrorTable } from "./error-table.ts";
