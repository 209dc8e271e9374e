import { CodedError, type ErrorTable } from "@dstack/errors";

export const CHANNEL_ERRORS = {
  "not-connected": "the other end of the channel is not there",
  "timed-out": "no answer came in time",
  aborted: "the caller gave the request up",
  closed: "the channel was closed",
  "frame-too-long": "a message larger than the channel carries",
  "queue-full": "the other end does not read",
  "port-missing": "the host gave this VM no such port",
} as const satisfies ErrorTable;

export type ChannelErrorCode = keyof typeof CHANNEL_ERRORS;

/** A request that got no answer over the channel. Match on `code`. */
export class ChannelError extends CodedError<ChannelErrorCode> {}
