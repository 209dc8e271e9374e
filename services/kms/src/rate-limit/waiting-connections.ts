import type { Server } from "node:http";
import type { Socket } from "node:net";

/**
 * Keeps a server's connections below `max` by ending the one that has waited longest without a
 * request under way: idle connections, however many, cost bounded memory and lock nobody out.
 */
export function limitWaitingConnections(server: Server, max: number): void {
  const all = new Map<string, Socket>();
  /** Keys of connections without a request, oldest first. */
  const waiting = new Set<string>();

  server.on("connection", (socket: Socket) => {
    const key = keyOf(socket);
    all.set(key, socket);
    waiting.add(key);
    socket.once("close", () => {
      if (all.get(key) !== socket) return;
      all.delete(key);
      waiting.delete(key);
    });
    if (all.size <= max) return;
    const [oldest] = waiting;
    if (oldest === undefined) return;
    all.get(oldest)?.destroy();
    // Its close comes later; it must not be chosen again.
    all.delete(oldest);
    waiting.delete(oldest);
  });
  server.on("request", ({ socket }, response) => {
    const key = keyOf(socket);
    waiting.delete(key);
    response.once("close", () => {
      if (all.has(key)) waiting.add(key);
    });
  });
}

/** The same for a TLS socket and the connection below it. */
const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
