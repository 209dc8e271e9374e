import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { utf8Decode } from "@dstack/bytes";
import { errorChain, excerpt } from "@dstack/errors";
import { exchange } from "@dstack/http";
import { RpcError } from "./errors.ts";
import { messageFromJson, messageToJson, parseJson } from "./json.ts";

export interface RpcAnswer {
  readonly status: number;
  readonly body: Uint8Array;
}

// A peer's text goes on to our logs, callers and terminals; releases up to 0.5.5 write several lines.
const REMOTE_TEXT = { maxChars: 4_000, lines: true } as const;

/** Carries one call's bytes. The path is `<Method>` relative to the base. */
export interface RpcTransport {
  call(method: string, json: string, options: CallOptions): Promise<RpcAnswer>;
}

export interface CallOptions {
  /** Deadline of the whole call in milliseconds; 60,000 unless given. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface HttpTransportOptions {
  /** e.g. `https://10.0.2.2:9301/prpc`; with `socketPath` only its path counts. */
  readonly baseUrl: string;
  readonly socketPath?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly tls?: ConnectionOptions;
  /**
   * Looks at the peer before a byte of the request is sent; throwing ends the connection.
   * Required for TLS without a trusted CA, where nothing else says who the peer is.
   */
  readonly checkPeer?: (socket: TLSSocket) => Promise<void> | void;
  readonly maxAnswerBytes?: number;
}

/** JSON over HTTP/1.1, one connection a call, as the reference's clients do it. */
export function httpTransport(options: HttpTransportOptions): RpcTransport {
  const base = new URL(options.baseUrl);
  return {
    call: (method, json, callOptions) => postJson(options, base, method, json, callOptions),
  };
}

/**
 * Calls one method and returns its typed answer.
 * @throws RpcError `remote-error` with the peer's text and the fact `status`, `transport-failed` when it could not be asked
 */
export async function callRpc<I extends DescMessage, O extends DescMessage>(
  transport: RpcTransport,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  options: CallOptions = {},
): Promise<MessageShape<O>> {
  const json = JSON.stringify(messageToJson(method.input, create(method.input, request)));
  const answer = await transport.call(method.name, json, options);
  const text = utf8Decode(answer.body, `answer of ${method.name}`);
  if (answer.status < 200 || answer.status >= 300)
    throw new RpcError("remote-error", remoteText(method.name, answer.status, text), {
      facts: { status: answer.status },
    });
  if (text.trim() === "" || text.trim() === "null") return create(method.output);
  return messageFromJson(method.output, parseJson(text));
}

/**
 * Whether the peer refused with these words. For refusals that the wire contract knows by their
 * words alone: peers of other makers send no code.
 */
export function remoteSaid(error: unknown, words: RegExp): boolean {
  return error instanceof RpcError && error.code === "remote-error" && words.test(error.message);
}

function remoteText(method: string, status: number, text: string): string {
  try {
    const parsed = parseJson(text) as { error?: unknown };
    if (typeof parsed.error === "string") return excerpt(parsed.error, REMOTE_TEXT);
  } catch {
    // Not JSON: the raw text is the best there is.
  }
  return `${method} failed with status ${status}${text === "" ? "" : `: ${excerpt(text)}`}`;
}

async function postJson(
  options: HttpTransportOptions,
  base: URL,
  method: string,
  json: string,
  call: CallOptions,
): Promise<RpcAnswer> {
  const { socketPath, tls, checkPeer } = options;
  try {
    return await exchange({
      url: new URL(`${base.pathname.replace(/\/$/, "")}/${method}?json`, base),
      headers: { ...options.headers, "content-type": "application/json" },
      body: json,
      socketPath,
      tls,
      checkPeer,
      timeoutMs: call.timeoutMs ?? 60_000,
      maxAnswerBytes: options.maxAnswerBytes ?? 16 * 1024 * 1024,
      signal: call.signal,
    });
  } catch (cause) {
    if (cause instanceof RpcError) throw cause;
    throw new RpcError(
      "transport-failed",
      `${method} at ${base.host || socketPath} could not be called: ${errorChain(cause)}`,
      { cause },
    );
  }
}
