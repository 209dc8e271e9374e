import { CodedError } from "@dstack/errors";

export type ChannelErrorCode =
  | "not-connected"
  | "timed-out"
  | "aborted"
  | "closed"
  | "frame-too-long"
  | "queue-full"
  | "port-missing";

/** A request that got no answer over the channel. Match on `code`. */
export class ChannelError extends CodedError<ChannelErrorCode> {}
