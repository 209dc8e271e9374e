import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import { networkOf } from "./network-of.ts";

/** Of the connections that are kept, so many may wait for the rest of a request's body, in all and from one address (IPv6: one /64). */
const UNFINISHED = 1 / 2;
const UNFINISHED_OF_ONE = 1 / 8;

/** The same for a TLS socket and the connection below it; a Unix socket has no address, and nothing above it. */
type Key = string | Socket;

interface Connection {
  readonly socket: Socket;
  /** Where answers are written: above `socket` in TLS. */
  top: Socket;
}

interface Unfinished {
  readonly request: IncomingMessage;
  readonly network: string;
}

/**
 * Bounds the connections that wait for their client, so that however many cost bounded memory and
 * lock nobody out. Beyond `max` in all each new one ends the one that has waited longest without a
 * request under way, or else the oldest whose client does not read its answer. Of requests whose
 * bodies have not arrived, half of `max` are kept and an eighth from one address, by ending the
 * oldest of them, of that address first.
 */
export function limitWaitingConnections(server: Server, max: number): void {
  const all = new Map<Key, Connection>();
  /** Connections without a request, oldest first. */
  const waiting = new Set<Key>();
  /** Requests by their connection, oldest first; those that have arrived since are taken out on the way. */
  const unfinished = new Map<Key, Unfinished>();

  const forget = (key: Key): void => {
    all.delete(key);
    waiting.delete(key);
    unfinished.delete(key);
  };
  const end = (key: Key): void => {
    all.get(key)?.socket.destroy();
    // Its close comes later; it must not be chosen again.
    forget(key);
  };
  server.on("connection", (socket: Socket) => {
    const key = keyOf(socket);
    all.set(key, { socket, top: socket });
    waiting.add(key);
    socket.once("close", () => {
      if (all.get(key)?.socket === socket) forget(key);
    });
    if (all.size <= max) return;
    const [oldest] = waiting;
    const late = oldest === key ? unread(all) : oldest;
    if (late !== undefined) end(late);
  });
  server.on("request", (request, response) => {
    const key = keyOf(request.socket);
    waiting.delete(key);
    const connection = all.get(key);
    if (connection !== undefined) connection.top = request.socket;
    response.once("close", () => {
      unfinished.delete(key);
      if (all.has(key)) waiting.add(key);
    });
    if (!hasBody(request)) return;
    const network = networkOf(request.socket.remoteAddress ?? "");
    unfinished.set(key, { request, network });
    const late = oneTooMany(unfinished, network, max);
    if (late !== undefined) end(late);
  });
}

/** Whose turn it is to go, after one of this network came in. */
function oneTooMany(unfinished: Map<Key, Unfinished>, from: string, max: number): Key | undefined {
  const ofNetwork: Key[] = [];
  for (const [key, { request, network }] of unfinished) {
    if (request.complete) unfinished.delete(key);
    else if (network === from) ofNetwork.push(key);
  }
  if (ofNetwork.length > max * UNFINISHED_OF_ONE) return ofNetwork[0];
  const [oldest] = unfinished.keys();
  return unfinished.size > max * UNFINISHED ? oldest : undefined;
}

/** The oldest connection with bytes for a client that takes none. */
function unread(all: ReadonlyMap<Key, Connection>): Key | undefined {
  for (const [key, { top }] of all) if (top.writableLength > 0) return key;
  return undefined;
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";

const keyOf = (socket: Socket): Key =>
  socket.remoteAddress === undefined ? socket : `${socket.remoteAddress} ${socket.remotePort}`;
