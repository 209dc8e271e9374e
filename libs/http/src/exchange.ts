/**
 * One HTTP exchange: a request goes in, an answer read to its end comes out, within one deadline
 * and a bounded size; a peer with whom no connection comes about is given up earlier. Redirects
 * are never followed. Nothing of the request leaves before the connection's peer has passed the
 * caller's check.
 */
import type { Agent, IncomingHttpHeaders, RequestOptions } from "node:http";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { dial } from "./dial.ts";
import { HttpError } from "./errors.ts";
import { transportFailure } from "./transport-failure.ts";

export interface HttpRequest {
  /** http or https; with `socketPath` its path and query count, and its host is what the server is told. */
  readonly url: string | URL;
  /** GET unless given, POST where there is a body. */
  readonly method?: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | string | undefined;
  /** Of a Unix socket to dial in place of the URL's host. */
  readonly socketPath?: string | undefined;
  /** Address to dial in place of the URL's host, which stays the name that is asked for. */
  readonly dial?: string | undefined;
  readonly tls?: ConnectionOptions | undefined;
  /**
   * Looks at the peer before a byte of the request is sent; throwing ends the connection. The only
   * thing that says who the peer is where `tls` trusts no authority. Not for kept connections.
   */
  readonly checkPeer?: ((socket: TLSSocket) => Promise<void> | void) | undefined;
  /** Connections to use again, from `keptConnections`; one of its own for each exchange without it. */
  readonly connections?: Agent | undefined;
  /**
   * Whether asking twice is as good as asking once; GET and HEAD always are. A kept connection may
   * end after the server has read the request, so nothing else is sent a second time.
   */
  readonly repeatable?: boolean | undefined;
  /** Of everything from the connection to the last byte. */
  readonly timeoutMs: number;
  readonly maxAnswerBytes: number;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/**
 * One attempt; a second one on a new connection where a kept one ended without an answer and the
 * request may be repeated.
 * @throws HttpError; what `checkPeer` throws as it is
 */
export async function exchange(request: HttpRequest): Promise<HttpAnswer> {
  const begun = performance.now();
  try {
    return await attemptOnce(request, request.connections, request.timeoutMs);
  } catch (error) {
    if (!(error instanceof StaleConnection)) throw error;
    if (!mayRepeat(request)) throw noAnswer(error.cause as NodeJS.ErrnoException, request.signal);
    return attemptOnce(request, undefined, Math.max(1, request.timeoutMs - (performance.now() - begun)));
  }
}

/** A kept connection ended before an answer came: mostly the server had closed it, but it may have read the request. */
class StaleConnection extends Error {}

const CLOSED: ReadonlySet<string | undefined> = new Set(["ECONNRESET", "EPIPE"]);

function attemptOnce(options: HttpRequest, agent: Agent | undefined, leftMs: number): Promise<HttpAnswer> {
  const { maxAnswerBytes, timeoutMs, body, checkPeer } = options;
  const url = new URL(options.url);
  const isTls = url.protocol === "https:" && options.socketPath === undefined;
  return new Promise<HttpAnswer>((resolve, reject) => {
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      outgoing.destroy();
      reject(error);
    };
    const request = requestOptions(options, url, agent);
    const outgoing = dial(isTls, { ...request, ...(isTls ? options.tls : {}) });
    const timer = setTimeout(
      () => fail(new HttpError("timed-out", `no answer within ${timeoutMs} ms`, { facts: { timeoutMs } })),
      leftMs,
    );
    let isAnswered = false;
    outgoing.on("error", (error: NodeJS.ErrnoException) =>
      fail(
        outgoing.reusedSocket && !isAnswered && CLOSED.has(error.code)
          ? new StaleConnection(error.message, { cause: error })
          : noAnswer(error, options.signal),
      ),
    );
    outgoing.on("response", (response) => {
      isAnswered = true;
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length <= maxAnswerBytes) chunks.push(chunk);
        else
          fail(
            new HttpError("answer-too-large", `answer exceeds ${maxAnswerBytes} bytes`, { facts: { maxAnswerBytes } }),
          );
      });
      response.on("error", (error) => fail(noAnswer(error, options.signal)));
      response.on("end", () => {
        clearTimeout(timer);
        const bytes = Buffer.concat(chunks);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length),
        });
      });
    });
    if (!isTls || checkPeer === undefined) {
      outgoing.end(body);
      return;
    }
    outgoing.on("socket", (socket) => {
      socket.once("secureConnect", () => {
        Promise.resolve()
          .then(() => checkPeer(socket as TLSSocket))
          .then(() => outgoing.end(body), fail);
      });
    });
  });
}

const mayRepeat = (request: HttpRequest): boolean =>
  request.repeatable === true || ["GET", "HEAD"].includes(methodOf(request));

const methodOf = ({ method, body }: HttpRequest): string => method ?? (body === undefined ? "GET" : "POST");

function requestOptions(options: HttpRequest, url: URL, agent: Agent | undefined): RequestOptions {
  const { body, headers, socketPath, signal } = options;
  const method = methodOf(options);
  const hasBody = method !== "GET" && method !== "HEAD";
  return {
    method,
    path: `${url.pathname}${url.search}`,
    headers: {
      host: url.host,
      ...headers,
      ...(hasBody ? { "content-length": String(body === undefined ? 0 : Buffer.byteLength(body)) } : {}),
      ...(agent === undefined ? { connection: "close" } : {}),
    },
    agent: options.checkPeer === undefined ? (agent ?? false) : false,
    ...(socketPath === undefined
      ? {
          host: options.dial ?? url.hostname.replace(/^\[|\]$/g, ""),
          port: url.port === "" ? (url.protocol === "https:" ? 443 : 80) : url.port,
        }
      : { socketPath }),
    ...(signal === undefined ? {} : { signal }),
  };
}

const noAnswer = (error: NodeJS.ErrnoException, signal: AbortSignal | undefined): HttpError =>
  signal?.aborted === true
    ? new HttpError("aborted", "the request was given up", { cause: signal.reason })
    : transportFailure(error);
