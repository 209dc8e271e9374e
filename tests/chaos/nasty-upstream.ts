/** A server that a daemon depends on, and that fails it in every way there is on a wire. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { TLSSocket, type SecureContext } from "node:tls";

export const MOODS = ["refuses", "resets", "half", "garbage", "huge", "late", "never"] as const;
export type Mood = (typeof MOODS)[number] | "honest";

/** Where the honest answers come from. */
export type Backend = { readonly host: string; readonly port: number } | { readonly path: string };

export interface NastyOptions {
  readonly backend?: Backend;
  /** Speaks TLS itself, so that it can fail inside of it. */
  readonly tls?: SecureContext;
  /** A Unix socket in place of a port. */
  readonly path?: string;
  /** Another address than 127.0.0.1, and a port there. */
  readonly listen?: { readonly host: string; readonly port: number };
}

const HUGE_BYTES = 6 * 1024 * 1024;
const LATE_MS = 150;
const GARBAGE = [
  "\u0000\u0001\u0002 this is no protocol\r\n\r\n",
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"a":[[1]`,
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\nnull`,
  "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\n\u00ff\u00fe\u0000",
  "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
  "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
];

export class NastyUpstream {
  mood: Mood = "honest";
  /** Connections that reached it, and those that were refused are none. */
  reached = 0;
  readonly #options: NastyOptions;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #where: { host: string; port: number } | { path: string } | undefined;

  private constructor(options: NastyOptions) {
    this.#options = options;
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  static async start(options: NastyOptions = {}): Promise<NastyUpstream> {
    const upstream = new NastyUpstream(options);
    await upstream.#listen();
    return upstream;
  }

  get port(): number {
    return this.#where !== undefined && "port" in this.#where ? this.#where.port : 0;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? "http" : "https"}://127.0.0.1:${this.port}`;
  }

  async become(mood: Mood): Promise<void> {
    this.endAll();
    this.mood = mood;
    if (mood === "refuses") await this.#stop();
    else if (!this.#server.listening) await this.#listen();
  }

  /** Ends what hangs, so that nobody waits for a deadline. */
  endAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.endAll();
    await this.#stop();
  }

  async #listen(): Promise<void> {
    const { path, listen = { host: "127.0.0.1", port: 0 } } = this.#options;
    this.#where ??= path === undefined ? listen : { path };
    this.#server.listen(this.#where);
    await once(this.#server, "listening");
    const bound = this.#server.address() as AddressInfo | string;
    if (typeof bound !== "string" && "host" in this.#where) this.#where.port = bound.port;
  }

  async #stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(raw: Socket): void {
    const turn = this.reached++;
    this.#sockets.add(raw);
    raw.on("error", () => undefined).once("close", () => this.#sockets.delete(raw));
    const { tls, backend } = this.#options;
    if (this.mood === "honest") return backend === undefined ? void raw.destroy() : this.#forward(raw, backend);
    if (this.mood === "late" && backend !== undefined)
      return void setTimeout(() => this.#forward(raw, backend), LATE_MS);
    if (tls === undefined || turn % 2 === 0) return this.#misbehave(raw, raw, turn);
    const socket = new TLSSocket(raw, { isServer: true, secureContext: tls });
    socket.on("error", () => undefined);
    this.#misbehave(raw, socket, turn);
  }

  #misbehave(raw: Socket, socket: Socket, turn: number): void {
    const { mood } = this;
    socket.once("data", () => {
      switch (mood) {
        case "resets":
          // A Unix socket knows no reset.
          return void (this.#options.path === undefined && !raw.writableEnded ? raw.resetAndDestroy() : raw.destroy());
        case "half":
          socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"a');
          return void setTimeout(() => socket.end(), 5);
        case "garbage":
          return void socket.end(turn % 7 === 6 ? randomBytes(300) : (GARBAGE[turn % 6] ?? ""), "latin1");
        case "huge":
          socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"');
          return void socket.end(Buffer.alloc(HUGE_BYTES, "x"));
        case "late":
          return void setTimeout(() => socket.end(GARBAGE[1] ?? ""), LATE_MS);
        default:
          return undefined;
      }
    });
  }

  #forward(raw: Socket, backend: Backend): void {
    if (raw.destroyed) return;
    const onward = connect(backend);
    this.#sockets.add(onward);
    onward.once("close", () => {
      this.#sockets.delete(onward);
      raw.destroy();
    });
    onward.on("error", () => undefined);
    raw.once("close", () => onward.destroy());
    raw.pipe(onward).pipe(raw);
  }
}
