/** HTTP that the gateway itself answers on proxy connections: explanations, and the reserved name `gateway`. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

export interface Explanation {
  readonly status: number;
  /** One line for a person. */
  readonly text: string;
}

export interface HttpAnswers {
  /** Answers the first HTTP request on the connection with the explanation; other protocols are closed. */
  explain(socket: Duplex, explanation: Explanation): void;
  /** Serves the reserved names `gateway` and `health`. */
  own(socket: Duplex, name: string): void;
  close(): void;
}

export interface OwnPages {
  readonly acmeInfo: () => unknown;
}

const LIMITS = { keepAliveTimeout: 5_000, maxHeaderSize: 32 * 1024 };
const DEADLINE_MS = 10_000;

/** `deadlineMs` bounds how long any of these connections lasts: a server that does not listen enforces no timeouts of its own. */
export function httpAnswers(pages: OwnPages, deadlineMs = DEADLINE_MS): HttpAnswers {
  const explanations = new WeakMap<object, Explanation>();
  const explaining = createServer(LIMITS, (request, response) => {
    const { status, text } = explanations.get(request.socket) ?? { status: 500, text: "internal error" };
    response
      .writeHead(status, {
        "content-type": "text/plain; charset=utf-8",
        connection: "close",
        "cache-control": "no-store",
      })
      .end(`dstack gateway: ${text}\n`);
  });
  const healthSockets = new WeakSet<object>();
  const owning = createServer(LIMITS, (request, response) => {
    if (healthSockets.has(request.socket)) answerHealth(request, response);
    else answerOwn(pages, request, response);
  });
  for (const server of [explaining, owning]) closeOnNonsense(server);
  return {
    explain: (socket, explanation) => {
      explanations.set(socket, explanation);
      endBy(socket, deadlineMs);
      explaining.emit("connection", socket);
    },
    own: (socket, name) => {
      if (name === "health") healthSockets.add(socket);
      endBy(socket, deadlineMs);
      owning.emit("connection", socket);
    },
    close: () => {
      explaining.closeAllConnections();
      owning.closeAllConnections();
    },
  };
}

function closeOnNonsense(server: Server): void {
  server.on("clientError", (_error, socket) => socket.destroy());
}

function endBy(socket: Duplex, deadlineMs: number): void {
  const timer = setTimeout(() => socket.destroy(), deadlineMs);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
}

/** What load balancers were told to ask at first. */
function answerHealth(request: IncomingMessage, response: ServerResponse): void {
  response
    .writeHead((request.method === "GET" || request.method === "HEAD") && request.url === "/" ? 200 : 404, {
      "content-length": 0,
    })
    .end();
}

const PATHS = ["/index", "/app-info", "/acme-info"];

function answerOwn(pages: OwnPages, request: IncomingMessage, response: ServerResponse): void {
  // As everywhere, a HEAD is a GET whose body stays away.
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.writeHead(405, { allow: "GET, HEAD", "content-length": 0 }).end();
    return;
  }
  let path = (request.url ?? "/").split("?", 1)[0] ?? "/";
  while (path.startsWith("/.dstack")) path = path.slice("/.dstack".length);
  switch (path) {
    case "/health":
      response.writeHead(200, { "content-length": 0 }).end();
      return;
    case "/index":
      sendJson(response, { type: "dstack gateway", paths: PATHS });
      return;
    case "/acme-info":
      sendJson(response, pages.acmeInfo());
      return;
    default:
      response.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end("Not found\n");
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length }).end(body);
}
