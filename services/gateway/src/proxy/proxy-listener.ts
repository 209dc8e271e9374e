/**
 * From a client's first byte to the right port of the right CVM.
 * In: TCP connections. Out: bytes through the tunnel, or an answer that says why not.
 * Steps: the ClientHello, its name, the app's CVMs, their port policy, connect, end TLS or pass it on, relay.
 * Every wait has a deadline, every app and the whole a bound on connections.
 * Never: a port that the app's policy closes; a byte to a CVM of another app.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "@dstack/log";
import { ProxyConnection, type ConnectionOptions } from "./proxy-connection.ts";

export interface ProxyListenerOptions extends ConnectionOptions {
  readonly host: string;
  readonly ports: readonly number[];
  readonly maxConnections: number;
  readonly log: Logger;
}

const BACKLOG = 4_096;

/** The proxy's TCP listeners, one a port. */
export class ProxyListener {
  readonly #options: ProxyListenerOptions;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  constructor(options: ProxyListenerOptions) {
    this.#options = options;
  }

  /** Ports in use; differs from the configured ones only where 0 was asked for. */
  get ports(): number[] {
    return this.#servers.map((server) => (server.address() as { port: number }).port);
  }

  /** @throws Error with the system's code (EADDRINUSE, EACCES) when a port cannot be bound */
  async start(): Promise<void> {
    for (const port of this.#options.ports) {
      const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: this.#options.host, port, backlog: BACKLOG }, () => {
          server.off("error", reject);
          resolve();
        });
      });
      server.on("error", (error) => this.#options.log.error({ error: error.message }, "proxy listener"));
      this.#servers.push(server);
      this.#options.log.info(
        { address: this.#options.host, port: (server.address() as { port: number }).port },
        `tcp bridge listening on ${this.#options.host}:${port}`,
      );
    }
  }

  /** Stops accepting, gives open connections `graceMs` to end, then closes them. */
  async close(graceMs: number): Promise<void> {
    const closed = Promise.all(
      this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    );
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await closed;
    clearTimeout(timer);
  }

  #accept(socket: Socket): void {
    const { counters, maxConnections, log } = this.#options;
    if (this.#sockets.size >= maxConnections) {
      counters.outcomes["refused-busy"] += 1;
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    counters.open += 1;
    socket.once("close", () => {
      this.#sockets.delete(socket);
      counters.open -= 1;
    });
    // Also keeps a reset of a connection that nobody reads yet from ending the process.
    socket.on("error", (error) => log.debug({ error: error.message }, "peer disconnected"));
    new ProxyConnection(socket, this.#options).run().catch((error: unknown) => {
      log.error({ error: error instanceof Error ? error.message : String(error) }, "connection error");
      socket.destroy();
    });
  }
}
