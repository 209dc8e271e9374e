import { utf8, utf8Decode } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { hostApi } from "@dstack/proto";
import { errorChain } from "@dstack/errors";
import { callRpc, type RpcService } from "@dstack/rpc";
import {
  channelHandler,
  channelTransport,
  createVmChannel,
  HOST_PORT_NAME,
  openGuestPort,
  type VmChannel,
} from "@dstack/vm-channel";
import type { Duplex } from "node:stream";
import { GuestError } from "../errors.ts";
import { withinTime } from "../system/deadline.ts";

/** The way to the host: it is told how the boot goes, and it asks how the guest is. */
export interface HostLink {
  /** Queues a notification; delivery is tried in order and never holds the caller. */
  notify(event: string, payload: string): void;
  /**
   * The answer of the machine's key provider to a quote, as the host carried it.
   * @throws GuestError `keys-unavailable` without a channel; RpcError
   */
  getSealingKey(quote: Uint8Array): Promise<{ readonly encryptedKey: Uint8Array; readonly providerQuote: Uint8Array }>;
  /** Waits until all is delivered, or for so long. */
  flush(timeoutMs: number): Promise<void>;
  close(): void;
}

export interface HostLinkOptions {
  /** What the host may call: the service `GuestApi`. */
  readonly service: RpcService<null, "host">;
  readonly log: Logger;
  /** The port to the host; the machine's own unless given. */
  readonly open?: () => Promise<Duplex>;
}

/** The host drops longer payloads. */
const MAX_PAYLOAD_BYTES = 4096;
const MAX_WAITING = 256;
const NOTIFY_TIMEOUT_MS = 30_000;
/** The host gives the provider 5 s to connect and 30 s to answer. */
const SEALING_KEY_TIMEOUT_MS = 40_000;

/**
 * Opens the virtio-serial port to the host. A machine without one boots all the same: what the
 * host hears is a convenience, never a condition.
 */
export async function openHostLink(options: HostLinkOptions): Promise<HostLink> {
  const { log } = options;
  let channel: VmChannel | undefined;
  try {
    const port = await (options.open ?? (() => openGuestPort(HOST_PORT_NAME, { timeoutMs: 5_000 })))();
    channel = createVmChannel(port, { handle: channelHandler(options.service, "/api"), log });
  } catch (error) {
    log.warn(
      { error: errorChain(error) },
      "no channel to the host (vsock is not available in this version): the host hears nothing of this boot",
    );
  }
  let queue = Promise.resolve();
  let waiting = 0;
  const send = async (event: string, payload: string): Promise<void> => {
    if (channel === undefined) return;
    try {
      await callRpc(
        channelTransport(channel, "/api"),
        hostApi.HostApi.method.notify,
        { event, payload },
        { timeoutMs: NOTIFY_TIMEOUT_MS },
      );
    } catch (error) {
      log.warn({ event, error: errorChain(error) }, "the host did not take a notification");
    }
  };
  return {
    notify: (event, payload) => {
      if (waiting >= MAX_WAITING) return;
      waiting++;
      queue = queue.then(() => send(event, truncateUtf8(payload, MAX_PAYLOAD_BYTES))).finally(() => waiting--);
    },
    getSealingKey: async (quote) => {
      if (channel === undefined)
        throw new GuestError("keys-unavailable", "no channel to the host, which has the way to its key provider");
      const method = hostApi.HostApi.method.getSealingKey;
      return callRpc(channelTransport(channel, "/api"), method, { quote }, { timeoutMs: SEALING_KEY_TIMEOUT_MS });
    },
    flush: (timeoutMs) =>
      withinTime(queue, timeoutMs).catch((error: unknown) =>
        log.warn({ error: errorChain(error) }, "the host was not told everything"),
      ),
    close: () => channel?.close(),
  };
}

/** The text, cut at a character's boundary where it is longer (DS #1278). */
export function truncateUtf8(text: string, maxBytes: number): string {
  const bytes = utf8(text);
  if (bytes.length <= maxBytes) return text;
  let end = maxBytes;
  // 10xxxxxx continues a character.
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return utf8Decode(bytes.subarray(0, end));
}
