import { request as plainRequest, type RequestOptions } from "node:http";
import { request as tlsRequest } from "node:https";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { utf8, utf8Decode } from "@dstack/bytes";
import { errorChain, excerpt } from "@dstack/errors";
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
    const parsed = JSON.parse(text) as { error?: unknown };
    if (typeof parsed.error === "string") return excerpt(parsed.error, REMOTE_TEXT);
  } catch {
    // Not JSON: the raw text is the best there is.
  }
  return `${method} failed with status ${status}${text === "" ? "" : `: ${excerpt(text)}`}`;
}

function postJson(
  options: HttpTransportOptions,
  base: URL,
  method: string,
  json: string,
  call: CallOptions,
): Promise<RpcAnswer> {
  const timeoutMs = call.timeoutMs ?? 60_000;
  const maxAnswerBytes = options.maxAnswerBytes ?? 16 * 1024 * 1024;
  const body = utf8(json);
  const isTls = base.protocol === "https:" && options.socketPath === undefined;
  return new Promise<RpcAnswer>((resolve, reject) => {
    const fail = (cause: unknown): void => {
      clearTimeout(timer);
      outgoing.destroy();
      reject(
        cause instanceof RpcError
          ? cause
          : new RpcError(
              "transport-failed",
              `${method} at ${base.host || options.socketPath} could not be called: ${errorChain(cause)}`,
              { cause },
            ),
      );
    };
    const request: RequestOptions = {
      method: "POST",
      path: `${base.pathname.replace(/\/$/, "")}/${method}?json`,
      headers: {
        ...options.headers,
        "content-type": "application/json",
        "content-length": body.length,
        connection: "close",
      },
      agent: false,
      ...(options.socketPath === undefined
        ? { host: base.hostname.replace(/^\[|\]$/g, ""), port: base.port || (isTls ? 443 : 80) }
        : { socketPath: options.socketPath }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    };
    const outgoing = isTls ? tlsRequest({ ...request, ...options.tls }) : plainRequest(request);
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    outgoing.on("error", fail);
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > maxAnswerBytes) fail(new Error(`answer exceeds ${maxAnswerBytes} bytes`));
        else chunks.push(chunk);
      });
      response.on("error", fail);
      response.on("end", () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, body: new Uint8Array(Buffer.concat(chunks)) });
      });
    });
    if (isTls && options.checkPeer !== undefined) {
      const check = options.checkPeer;
      // The request is written only after the peer passed: secrets never reach an unchecked peer.
      outgoing.on("socket", (socket) => {
        socket.once("secureConnect", () => {
          Promise.resolve()
            .then(() => check(socket as TLSSocket))
            .then(() => outgoing.end(body), fail);
        });
      });
    } else {
      outgoing.end(body);
    }
  });
}
