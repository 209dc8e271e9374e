import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import { networkOf } from "../network-of.ts";

/** Of the connections, so many may wait for the rest of a request's body, in all and from one address (IPv6: one /64). */
const UNFINISHED = 1 / 2;
const UNFINISHED_OF_ONE = 1 / 8;

/**
 * Bounds the connections that wait for their client, so that however many cost bounded memory and
 * lock nobody out. Below `max` in all are kept by ending the one that has waited longest without a
 * request under way. Of requests whose bodies have not arrived, half of `max` are kept and an eighth
 * from one address, by ending the oldest of them, of that address first.
 */
export function limitWaitingConnections(server: Server, max: number): void {
  const all = new Map<string, Socket>();
  /** Keys of connections without a request, oldest first. */
  const waiting = new Set<string>();
  /** Requests by the key of their connection, oldest first; those that have arrived since are taken out on the way. */
  const unfinished = new Map<string, { readonly request: IncomingMessage; readonly network: string }>();

  const forget = (key: string): void => {
    all.delete(key);
    waiting.delete(key);
    unfinished.delete(key);
  };
  const end = (key: string): void => {
    all.get(key)?.destroy();
    // Its close comes later; it must not be chosen again.
    forget(key);
  };
  server.on("connection", (socket: Socket) => {
    const key = keyOf(socket);
    all.set(key, socket);
    waiting.add(key);
    socket.once("close", () => {
      if (all.get(key) === socket) forget(key);
    });
    if (all.size <= max) return;
    const [oldest] = waiting;
    if (oldest !== undefined) end(oldest);
  });
  server.on("request", (request, response) => {
    const key = keyOf(request.socket);
    waiting.delete(key);
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
function oneTooMany(
  unfinished: Map<string, { readonly request: IncomingMessage; readonly network: string }>,
  from: string,
  max: number,
): string | undefined {
  const ofNetwork: string[] = [];
  for (const [key, { request, network }] of unfinished) {
    if (request.complete) unfinished.delete(key);
    else if (network === from) ofNetwork.push(key);
  }
  if (ofNetwork.length > max * UNFINISHED_OF_ONE) return ofNetwork[0];
  const [oldest] = unfinished.keys();
  return unfinished.size > max * UNFINISHED ? oldest : undefined;
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";

/** The same for a TLS socket and the connection below it. */
const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
