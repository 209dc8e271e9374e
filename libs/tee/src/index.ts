/**
 * The guest's TEE interface: quotes through configfs-tsm, registers through sysfs, the event log that
 * explains RTMR3. Works the same on TDX hardware and on the simulator.
 */
export { TeeError } from "./errors.ts";
export type { TeeErrorCode } from "./errors.ts";
export { PRODUCTION_PATHS, teePaths } from "./paths.ts";
export type { TeePaths } from "./paths.ts";
export { GuestTee } from "./guest-tee.ts";
export { RuntimeEventLog } from "./runtime-event-log.ts";
export type { EventRegister } from "./runtime-event-log.ts";
export { tsmQuote } from "./tsm-quote.ts";
export type { QuoteOptions } from "./tsm-quote.ts";
export { extendRtmr, readRtmr } from "./rtmr.ts";
