/** The channel between a VM and its host: both sides ask and answer over one byte stream. */
export { ChannelError } from "./errors.ts";
export type { ChannelErrorCode } from "./errors.ts";
export { MAX_FRAME_BYTES } from "./frame.ts";
export { createVmChannel } from "./vm-channel.ts";
export type { ChannelHandler, ChannelOptions, StreamChannel, VmChannel } from "./vm-channel.ts";
export type { ChannelAnswer, RequestOptions } from "./channel-answer.ts";
export { openHostChannel } from "./host-channel.ts";
export type { HostChannelOptions } from "./host-channel.ts";
export { findGuestPort, HOST_PORT_NAME, openGuestPort } from "./guest-port.ts";
export type { GuestPortOptions } from "./guest-port.ts";
export { channelHandler, channelTransport } from "./rpc-over-channel.ts";
