import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import { createServer as createPlainServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { chmod, unlink } from "node:fs/promises";
import type { AddressInfo, Socket } from "node:net";
import { Server as TlsServer, TLSSocket, type DetailedPeerCertificate, type SecureContextOptions } from "node:tls";
import type { Logger } from "@dstack/log";
import { BodyBudget } from "./body-budget.ts";
import {
  dispatch,
  errorResponse,
  isJsonCall,
  stripPrefixes,
  toldId,
  type RpcRequest,
  type RpcResponse,
  type RpcService,
} from "./dispatch.ts";
import { errorChain, ignoreMissing } from "@dstack/errors";
import { tlsSettings } from "@dstack/http";
import { RpcError } from "./errors.ts";
import { mayOpenFiles } from "./may-open-files.ts";
import { DEFAULT_BODY_LIMIT_BYTES, type RpcCall } from "./route.ts";
import { endDeparted } from "./end-departed.ts";
import { answerUnreadable } from "./unreadable-requests.ts";
import { limitWaitingConnections } from "./waiting-connections.ts";

const CLOSE_TIMEOUT_MS = 2_000;
/** More than any chain that could be accepted; what a peer sends beyond it is not looked at. */
const MAX_PEER_CERTIFICATES = 6;

/** A TCP address or a Unix socket; a stale socket file is removed before binding. */
export type Listen =
  | { readonly host: string; readonly port: number }
  | { readonly path: string; readonly mode?: number };

export interface HttpExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly requestId: string;
}

/** A plain HTTP route beside the RPC mounts: exact path, or a prefix ending in `/`. */
export interface HttpRoute {
  readonly verbs: readonly string[];
  readonly path: string;
  readonly handle: (exchange: HttpExchange) => Promise<void>;
}

export interface RpcMount {
  /** Path prefix ending in `/`, e.g. `/prpc/`. */
  readonly path: string;
  // The caller type stays inside the service; the listener only carries bytes.
  readonly service: RpcService<never, never>;
}

/** Hides the caller type of a service so that mounts of several services share one listener. */
export function mount<Caller, Auth extends string>(path: string, service: RpcService<Caller, Auth>): RpcMount {
  return { path, service: service as unknown as RpcService<never, never> };
}

export interface HttpServerOptions {
  readonly listen: Listen;
  /** TLS with an optional, unverified client certificate: evidence, not the issuer, authenticates. */
  readonly tls?: SecureContextOptions & { readonly requestClientCertificate?: boolean };
  readonly mounts?: readonly RpcMount[];
  readonly routes?: readonly HttpRoute[];
  /** Runs before everything; returning false means it answered already. */
  readonly guard?: (exchange: HttpExchange) => Promise<boolean>;
  /** Response headers on every answer, e.g. X-App-Version and Server. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly log: Logger;
  /** For a whole request; 120,000 unless given. */
  readonly requestTimeoutMs?: number;
  /** For a TLS handshake and for the head of a request, each; 20,000 unless given. */
  readonly headersTimeoutMs?: number;
  /**
   * Connections at a time; 12,000 unless given, and at most half of the files that this process may
   * open. Half of them may wait for their client (see `limitWaitingConnections`).
   */
  readonly maxConnections?: number;
  /** For the bodies of RPC calls that are under way, together; 256 MiB unless given. Bodies of 64 KiB are always read. */
  readonly maxBodyBytes?: number;
}

export interface HttpServer {
  /** Where it listens: `127.0.0.1:9301` or the socket's path. */
  readonly address: string;
  readonly port: number;
  readonly server: Server;
  /** Replaces the TLS key and certificate for new connections. */
  setSecureContext(context: SecureContextOptions): void;
  close(): Promise<void>;
}

/** Binds and serves. @throws Error with the system's code (EADDRINUSE, EACCES) when binding fails */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const budget = new BodyBudget(options.maxBodyBytes ?? 256 * 1024 * 1024);
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    serve(options, budget, request, response).catch((error: unknown) => {
      // A request whose rest never came fails in whoever read it: that is no fault of this program.
      if (request.destroyed && !request.complete)
        options.log.debug({ error: errorChain(error) }, "request was not finished: its client ended the connection");
      else options.log.error({ error: errorChain(error) }, "request failed outside its handler");
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { "content-length": 0 }).end();
    });
  };
  const headersTimeout = options.headersTimeoutMs ?? 20_000;
  // Node looks for late connections every 30 s unless told otherwise: a deadline must not double.
  const limits = {
    requestTimeout: options.requestTimeoutMs ?? 120_000,
    headersTimeout,
    connectionsCheckingInterval: 2_000,
    maxHeaderSize: 64 * 1024,
    // Released clients on Unix sockets leave it out.
    requireHostHeader: false,
  };
  const server =
    options.tls === undefined
      ? createPlainServer(limits, listener)
      : createTlsServer(
          {
            ...limits,
            handshakeTimeout: headersTimeout,
            ...tlsSettings(options.tls),
            requestCert: options.tls.requestClientCertificate ?? false,
            rejectUnauthorized: false,
          },
          listener,
        );
  const maxConnections = Math.min(options.maxConnections ?? 12_000, Math.floor(mayOpenFiles() / 2));
  server.maxConnections = maxConnections;
  limitWaitingConnections(server, maxConnections / 2);
  endDeparted(server);
  answerUnreadable(server);
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", (error) => options.log.debug({ error: errorChain(error) }, "TLS handshake failed"));
  if ("path" in options.listen) await unlink(options.listen.path).catch(ignoreMissing);
  await listening(server, options.listen);
  if ("path" in options.listen && options.listen.mode !== undefined)
    await chmod(options.listen.path, options.listen.mode);
  // A connection that cannot be accepted must not end the process.
  server.on("error", (error) => options.log.error({ error: error.message }, "a connection could not be accepted"));
  const bound = server.address() as AddressInfo | string;
  const address =
    typeof bound === "string"
      ? bound
      : `${bound.family === "IPv6" ? `[${bound.address}]` : bound.address}:${bound.port}`;
  options.log.debug({ address, maxConnections, routes: routeList(options) }, "routes");
  return {
    address,
    port: typeof bound === "string" ? 0 : bound.port,
    server,
    setSecureContext: (context) => {
      if (server instanceof TlsServer) server.setSecureContext(tlsSettings(context));
    },
    close: () => closeServer(server, sockets),
  };
}

/**
 * The whole body, at most `limitBytes`.
 * @throws RpcError `payload-too-large`
 */
export async function readBody(request: IncomingMessage, limitBytes: number, budget?: BodyBudget): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  const share = budget?.open(() => request.destroy());
  try {
    for await (const chunk of chunksUpTo(request, limitBytes)) {
      if (share?.admit(chunk.length) === false)
        throw new RpcError("payload-too-large", "failed to read data: too many large requests at once, try again");
      chunks.push(chunk);
    }
    const whole = Buffer.concat(chunks);
    return new Uint8Array(whole.buffer, whole.byteOffset, whole.length);
  } finally {
    share?.release();
  }
}

/** Passes over a body that nobody looks at; it takes no memory. @throws RpcError `payload-too-large` */
async function passOverBody(request: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  for await (const _chunk of chunksUpTo(request, limitBytes));
  return new Uint8Array();
}

async function* chunksUpTo(request: IncomingMessage, limitBytes: number): AsyncGenerator<Buffer> {
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > limitBytes) throw new RpcError("payload-too-large", "failed to read data: payload too large");
    yield chunk as Buffer;
  }
}

async function serve(
  options: HttpServerOptions,
  budget: BodyBudget,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  for (const [name, value] of Object.entries(options.headers ?? {})) response.setHeader(name, value);
  const requestId = randomUUID();
  response.setHeader("x-request-id", requestId);
  const url = parseTarget(request.url ?? "/");
  if (url === undefined) {
    response.writeHead(400, { "content-type": "text/plain" }).end("bad request target\n");
    return;
  }
  const mountOf = (): RpcMount | undefined =>
    (options.mounts ?? []).find(
      ({ path }) => url.pathname.startsWith(path) && !url.pathname.slice(path.length).includes("/"),
    );
  if (!isUtf8Query(url.search)) {
    const told = toldId(mountOf()?.service ?? {}, requestId);
    send(response, errorResponse(400, "query is not valid UTF-8", true, told));
    return;
  }
  const exchange: HttpExchange = { request, response, url, requestId };
  if (options.guard !== undefined && !(await options.guard(exchange))) return;
  // The guard may have rewritten the path.
  const mounted = mountOf();
  if (mounted !== undefined) {
    await serveRpc(mounted, budget, exchange);
    return;
  }
  // A HEAD is a GET whose body stays away, for monitors and load balancers.
  const verb = request.method === "HEAD" ? "GET" : (request.method ?? "GET");
  const routed = (options.routes ?? []).find(
    (candidate) =>
      candidate.verbs.includes(verb) &&
      (url.pathname === candidate.path ||
        (candidate.path.endsWith("/") && candidate.path !== "/" && url.pathname.startsWith(candidate.path))),
  );
  if (routed !== undefined) {
    if (verb === "GET" && isRepeated(url.searchParams)) {
      response
        .writeHead(400, { "content-type": "text/plain; charset=utf-8" })
        .end("a field of the query is said twice\n");
      return;
    }
    await routed.handle(exchange).catch((error: unknown) => {
      if (!(error instanceof RpcError && error.code === "payload-too-large") || response.headersSent) throw error;
      response
        .writeHead(413, { "content-type": "text/plain; charset=utf-8", connection: "close" })
        .end("the body is too large\n");
    });
    return;
  }
  response.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end("Not found\n");
}

/** Everything that is answered, for whoever checks that each of it withstands its callers. */
const routeList = ({ mounts = [], routes = [] }: HttpServerOptions): object[] => [
  ...mounts.flatMap(({ path, service }) =>
    service.routes.map(({ method, input, bodyLimitBytes }) => ({
      verb: "POST",
      path: `${path}${method}`,
      input: input.typeName,
      bodyLimitBytes,
    })),
  ),
  ...routes.flatMap(({ verbs, path }) => verbs.map((verb) => ({ verb, path }))),
];

const isRepeated = (query: URLSearchParams): boolean => new Set(query.keys()).size < query.size;

/** Paths, and the absolute form, whose host says nothing here. Empty segments are passed over: clients join URLs with a slash too many. */
function parseTarget(target: string): URL | undefined {
  const path = target.replace(/^https?:\/\/[^/?#]*/i, "");
  const full = `http://host${path.startsWith("/") ? "" : "/"}${path}`;
  if ((!target.startsWith("/") && path === target) || !URL.canParse(full)) return undefined;
  const url = new URL(full);
  url.pathname = url.pathname.replaceAll(/\/{2,}/g, "/");
  return url;
}

/** Whether decoding loses nothing: bytes that are no text would be replaced, and two names become one. */
function isUtf8Query(search: string): boolean {
  if (!search.includes("%")) return true;
  const bytes = search.replaceAll(/%([0-9a-f]{2})/gi, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
  return isUtf8(Buffer.from(bytes, "latin1"));
}

/** How a method is called by each HTTP method. */
const VERBS: Readonly<Record<string, RpcRequest["verb"]>> = { GET: "GET", HEAD: "GET", POST: "POST" };

async function serveRpc(
  mounted: RpcMount,
  budget: BodyBudget,
  { request, response, url, requestId }: HttpExchange,
): Promise<void> {
  const { service } = mounted;
  const name = methodName(url.pathname.slice(mounted.path.length));
  const verb = VERBS[request.method ?? ""];
  if (verb === undefined) {
    response.writeHead(405, { allow: "GET, HEAD, POST" }).end();
    return;
  }
  const aborted = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) aborted.abort(new Error("the caller went away"));
  });
  const call: RpcCall = {
    method: stripPrefixes(name, service.prefixes),
    requestId,
    peerCertificates: request.socket instanceof TLSSocket ? peerCertificates(request.socket) : [],
    remoteAddress: request.socket.remoteAddress,
    headers: request.headers,
    query: url.searchParams,
    signal: aborted.signal,
  };
  const row = service.routes.find(({ method }) => method === call.method);
  const limit = row?.bodyLimitBytes ?? DEFAULT_BODY_LIMIT_BYTES;
  const isRead = row !== undefined && row.input.fields.length > 0;
  const head = { name, verb, query: url.searchParams, contentType: request.headers["content-type"] } as const;
  let body: Uint8Array;
  try {
    if (verb === "GET") body = new Uint8Array();
    else body = await (isRead ? readBody(request, limit, budget) : passOverBody(request, limit));
  } catch (error) {
    if (!(error instanceof RpcError)) {
      // The caller went away in the middle of its body: nothing of ours failed.
      if (request.destroyed) return;
      throw error;
    }
    response.setHeader("connection", "close");
    const isJson = isJsonCall({ ...head, body: new Uint8Array() });
    send(response, errorResponse(error.status, error.message, isJson, toldId(service, requestId)));
    return;
  }
  const rpc: RpcRequest = { ...head, body };
  send(response, await dispatch(service, rpc, call));
}

/** As it was sent where it is not valid percent-encoding: no method has such a name. */
function methodName(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (error) {
    if (error instanceof URIError) return segment;
    throw error;
  }
}

function peerCertificates(socket: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = [];
  // Node's types say this is always a certificate; without one it is an empty object.
  let next: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && chain.length < MAX_PEER_CERTIFICATES) {
    chain.push(new Uint8Array(next.raw));
    // A root is its own issuer.
    if (next.issuerCertificate === undefined || next.issuerCertificate.raw.equals(next.raw)) break;
    next = next.issuerCertificate;
  }
  return chain;
}

function send(response: ServerResponse, answer: RpcResponse): void {
  response
    .writeHead(answer.status, {
      ...answer.headers,
      "content-type": answer.contentType,
      "content-length": answer.body.length,
      "x-accel-buffering": "no",
    })
    .end(answer.body);
}

function listening(server: Server, listen: Listen): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(listen, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Lets requests under way finish for a moment, then ends every connection: also those in a TLS handshake, which the server's own list lacks. */
function closeServer(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, CLOSE_TIMEOUT_MS);
    server.close(() => {
      clearTimeout(late);
      resolve();
    });
    server.closeIdleConnections();
  });
}
