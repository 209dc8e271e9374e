import type { Duplex } from "node:stream";
import { errorChain } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { ChannelAnswer, RequestOptions } from "./channel-answer.ts";
import { ChannelError } from "./errors.ts";
import { encodeFrame, MAX_FRAME_BYTES, parseFrame, type Frame, type RequestFrame } from "./frame.ts";
import { lineSplitter } from "./line-splitter.ts";
import { openRequests } from "./open-requests.ts";

/** Answers one request of the peer. What it throws becomes status 400 with `{"error": text}`. */
export type ChannelHandler = (path: string, json: unknown, signal: AbortSignal) => Promise<ChannelAnswer>;

export interface VmChannel {
  /**
   * Asks the peer. A refusal by the peer is an answer with its status, not an error.
   * @throws ChannelError when no answer came
   */
  request(path: string, json: unknown, options?: RequestOptions): Promise<ChannelAnswer>;
  readonly connected: boolean;
  /** Ends the channel; open requests fail with `closed`. */
  close(): void;
}

export interface ChannelOptions {
  readonly handle: ChannelHandler;
  readonly log: Logger;
  /** Most requests of the peer that are worked on at once; more are answered with 503. 16 unless given. */
  readonly maxConcurrent?: number;
  /** Most bytes waiting to be written; 4 MiB unless given. */
  readonly maxQueuedBytes?: number;
}

export interface StreamChannel extends VmChannel {
  /** Settles once the stream has ended; never rejects. */
  readonly ended: Promise<void>;
}

/**
 * Requests and answers in both directions over one byte stream, as `frame.ts` describes.
 * The channel takes over the stream, and closing one closes the other.
 */
export function createVmChannel(stream: Duplex, options: ChannelOptions): StreamChannel {
  const { log } = options;
  const maxConcurrent = options.maxConcurrent ?? 16;
  const maxQueuedBytes = options.maxQueuedBytes ?? 4 * MAX_FRAME_BYTES;
  const requests = openRequests();
  const stopping = new AbortController();
  let active = 0;
  let open = true;

  const send = (frame: Frame): ChannelError | undefined => {
    const line = encodeFrame(frame);
    if (line.length > MAX_FRAME_BYTES + 1)
      return new ChannelError(
        "frame-too-long",
        `a frame of ${line.length} bytes exceeds the channel's ${MAX_FRAME_BYTES}`,
      );
    if (!open) return new ChannelError("closed", "the channel to the peer is closed");
    if (stream.writableLength + line.length > maxQueuedBytes)
      return new ChannelError("queue-full", `the peer does not read: ${stream.writableLength} bytes are waiting`);
    stream.write(line);
    return undefined;
  };

  const answer = (id: number, reply: ChannelAnswer): void => {
    const failure = send({ kind: "response", id, status: reply.status, json: reply.json });
    if (failure === undefined) return;
    log.warn({ code: failure.code, error: failure.message }, "answer not sent");
    if (failure.code === "frame-too-long")
      send({ kind: "response", id, status: 500, json: { error: failure.message } });
  };

  const serve = async (frame: RequestFrame): Promise<void> => {
    if (active >= maxConcurrent) {
      answer(frame.id, { status: 503, json: { error: `more than ${maxConcurrent} requests at once` } });
      return;
    }
    active++;
    try {
      answer(frame.id, await options.handle(frame.path, frame.json, stopping.signal));
    } catch (error) {
      answer(frame.id, { status: 400, json: { error: error instanceof Error ? error.message : String(error) } });
    } finally {
      active--;
    }
  };

  const reportFailure = (error: unknown): void => log.error({ error: errorChain(error) }, "a request was not answered");

  const splitter = lineSplitter(
    MAX_FRAME_BYTES,
    (line) => {
      const frame = parseFrame(line);
      if (frame === undefined) log.debug({ bytes: line.length }, "dropped a line that is no frame");
      else if (frame.kind === "request") serve(frame).catch(reportFailure);
      else requests.answered(frame.id, { status: frame.status, json: frame.json });
    },
    () => log.warn(`dropped a line of more than ${MAX_FRAME_BYTES} bytes`),
  );

  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      open = false;
      stopping.abort(new ChannelError("closed", "the channel was closed"));
      requests.fail(new ChannelError("closed", "the channel was closed before the answer came"));
      resolve();
    };
    stream.once("close", end);
    stream.once("end", () => stream.destroy());
    stream.on("error", (error) => log.debug({ error: error.message }, "channel stream failed"));
    if (stream.destroyed) end();
  });
  stream.on("data", (chunk: Uint8Array) => splitter.push(chunk));
  // Ends a line that a predecessor of ours may have left unfinished.
  if (!stream.destroyed) stream.write("\n");

  return {
    request: (path, json, requestOptions) =>
      requests.open(path, (id) => send({ kind: "request", id, path, json }), requestOptions),
    get connected() {
      return open;
    },
    ended,
    close: () => {
      open = false;
      stream.destroy();
    },
  };
}
