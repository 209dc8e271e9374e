import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { errorChain } from "@dstack/errors";
import { ChannelError } from "./errors.ts";
import { createVmChannel, type ChannelOptions, type StreamChannel, type VmChannel } from "./vm-channel.ts";

export interface HostChannelOptions extends ChannelOptions {
  /** Unix socket that QEMU listens on for the guest's serial port. */
  readonly socketPath: string;
  /** Longest pause between two attempts to connect; 1,000 ms unless given. */
  readonly maxPauseMs?: number;
}

const FIRST_PAUSE_MS = 50;
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * The host's end of one VM's channel: connects to QEMU's socket, again after each loss, until
 * it is closed. The socket is in the VM's own folder, so whoever answers is that VM.
 */
export function openHostChannel(options: HostChannelOptions): VmChannel {
  const stopping = new AbortController();
  let current: StreamChannel | undefined;
  keepConnected(options, stopping.signal, (channel) => {
    current = channel;
  }).catch((error: unknown) => options.log.error({ error: errorChain(error) }, "a VM's channel is given up"));
  return {
    request: (path, json, requestOptions) =>
      current === undefined
        ? Promise.reject(new ChannelError("not-connected", `${path}: the VM's channel is not connected`))
        : current.request(path, json, requestOptions),
    get connected() {
      return current !== undefined;
    },
    close: () => {
      stopping.abort();
      current?.close();
    },
  };
}

async function keepConnected(
  options: HostChannelOptions,
  stopping: AbortSignal,
  use: (channel: StreamChannel | undefined) => void,
): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  while (!stopping.aborted) {
    const socket = await connectOnce(options.socketPath);
    if (socket !== undefined) {
      pauseMs = FIRST_PAUSE_MS;
      const channel = createVmChannel(socket, options);
      use(channel);
      if (stopping.aborted) channel.close();
      await channel.ended;
      use(undefined);
    }
    try {
      await sleep(pauseMs, undefined, { signal: stopping, ref: false });
    } catch {
      return; // Closed while pausing.
    }
    pauseMs = Math.min(pauseMs * 2, options.maxPauseMs ?? 1_000);
  }
}

/** The socket, or undefined when nobody listens: QEMU is not up yet, or gone. */
function connectOnce(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const fail = (): void => {
      socket.destroy();
      resolve(undefined);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, fail);
    socket.once("error", fail);
    socket.once("connect", () => {
      socket.off("error", fail);
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}
