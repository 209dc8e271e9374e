/** The error that every package of ours throws: a stable code, facts, a text, the cause. */
export { CodedError, isCoded } from "./coded-error.ts";
export type { CodedErrorOptions, Facts } from "./coded-error.ts";
export { assertNever } from "./assert-never.ts";
export { asRefusal, attempt } from "./as-refusal.ts";
export type { Attempt } from "./as-refusal.ts";
export { errorChain } from "./error-chain.ts";
export { excerpt, visible } from "./excerpt.ts";
export { plainText } from "./plain-text.ts";
export { ignoreMissing, systemCode } from "./system-code.ts";
export type { ExcerptOptions } from "./excerpt.ts";
export type { ErrorRow, ErrorTable } from "./error-table.ts";
