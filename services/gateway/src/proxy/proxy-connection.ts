import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { assertNever } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import { targetOf, type AppAddress, type Target } from "./app-address.ts";
import type { Certificates } from "./certificates.ts";
import { connectRace } from "./connect-race.ts";
import type { Explanation, HttpAnswers } from "./http-answers.ts";
import { peekServerName } from "./peek.ts";
import type { Outcome, ProxyCounters } from "./proxy-counters.ts";
import { proxyHeaderV2 } from "./proxy-header.ts";
import { relay } from "./relay.ts";
import type { Backend, Resolution } from "./resolve-target.ts";
import { acceptTls } from "./tls-accept.ts";
import type { Watchdog } from "./watchdog.ts";

export interface ConnectionOptions {
  readonly certificates: Certificates;
  readonly counters: ProxyCounters;
  readonly answers: HttpAnswers;
  readonly watchdog: Watchdog;
  readonly resolve: (address: AppAddress) => Promise<Resolution>;
  readonly helloTimeoutMs: number;
  readonly tlsTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly log: Logger;
  /** Milliseconds. */
  readonly now: () => number;
}

/** Fatal alerts (RFC 8446 6): what a client that speaks TLS to the app, not to us, can be told. */
const ALERT = { internalError: 80, unrecognizedName: 112 } as const;

/** One connection from its first byte to its relay or refusal. */
export class ProxyConnection {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #startedAt: number;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#startedAt = options.now();
  }

  async run(): Promise<void> {
    const { certificates, helloTimeoutMs, log } = this.#options;
    const hello = await peekServerName(this.#socket, helloTimeoutMs);
    switch (hello.kind) {
      case "closed":
        this.#socket.destroy();
        return;
      case "timeout":
        return this.#drop("hello-timeout", `no ClientHello within ${helloTimeoutMs} ms`);
      case "absent":
        return this.#drop("no-sni", "no sni found", ALERT.unrecognizedName);
      case "invalid":
        return this.#drop("bad-hello", `ClientHello refused: ${hello.reason}`);
      case "name":
        break;
      default:
        return assertNever(hello);
    }
    log.debug(`got sni: ${hello.name}`);
    const target = targetOf(hello.name, (domain) => certificates.isBaseDomain(domain));
    if (target.kind === "platform" && target.address.mode !== "passthrough")
      await this.#terminate(target, hello.name, hello.bytes);
    else if (target.kind === "platform") await this.#passThrough(target.address, hello.name, hello.bytes);
    else if (target.kind === "custom-domain")
      this.#drop("custom-domain", `${hello.name} is no name of this gateway`, ALERT.unrecognizedName);
    else this.#drop("invalid-name", `${hello.name}: ${target.reason}`, ALERT.unrecognizedName);
  }

  async #terminate(target: Target & { kind: "platform" }, name: string, bytes: Buffer): Promise<void> {
    const { certificates, tlsTimeoutMs, counters, connectTimeoutMs } = this.#options;
    const { address, baseDomain } = target;
    const certificate = certificates.forDomain(baseDomain);
    if (certificate === undefined)
      return this.#drop("tls-failed", `no certificate for *.${baseDomain}`, ALERT.unrecognizedName);
    const own = address.id === "gateway" || address.id === "health";
    const [accepted, resolution] = await Promise.all([
      acceptTls(this.#socket, bytes, certificate.context, {
        alpn: address.mode === "h2" ? ["h2"] : [],
        timeoutMs: tlsTimeoutMs,
      }),
      own ? undefined : this.#options.resolve(address),
    ]);
    if (accepted.kind === "failed") return this.#drop("tls-failed", accepted.reason);
    const client = accepted.socket;
    // Between two owners of the stream an error must find a listener.
    client.on("error", () => undefined);
    if (resolution === undefined) return this.#own(client, address, name);
    if (resolution.kind === "refused")
      return this.#explain(client, address, resolution.outcome, name, resolution.explanation);
    const raced = await connectRace(resolution.backends, connectTimeoutMs);
    if (raced.kind === "failed") {
      return this.#explain(client, address, "connect-failed", name, {
        status: 502,
        text: `${address.id} does not answer on port ${address.port}: ${raced.reason}`,
      });
    }
    if (client.destroyed) {
      raced.socket.destroy();
      return;
    }
    counters.outcomes.relayed += 1;
    this.#relay(client, raced.socket, raced.candidate);
  }

  async #passThrough(address: AppAddress, name: string, bytes: Buffer): Promise<void> {
    const { resolve, connectTimeoutMs, counters } = this.#options;
    const resolution = await resolve(address);
    if (resolution.kind === "refused")
      return this.#drop(resolution.outcome, `${name}: ${resolution.explanation.text}`, ALERT.unrecognizedName);
    const raced = await connectRace(resolution.backends, connectTimeoutMs);
    if (raced.kind === "failed") return this.#drop("connect-failed", `${name}: ${raced.reason}`, ALERT.internalError);
    if (this.#socket.destroyed) {
      raced.socket.destroy();
      return;
    }
    counters.outcomes.relayed += 1;
    this.#relay(this.#socket, raced.socket, raced.candidate, bytes);
  }

  #relay(client: Duplex, backend: Socket, candidate: Backend, firstBytes?: Buffer): void {
    const { counters, watchdog, log, now } = this.#options;
    if (candidate.proxyHeader) {
      const { remoteAddress = "", remotePort = 0, localAddress = "", localPort = 0 } = this.#socket;
      backend.write(proxyHeaderV2({ remoteAddress, remotePort, localAddress, localPort }));
    }
    if (firstBytes !== undefined) backend.write(firstBytes);
    counters.begin(candidate.instanceId);
    log.debug({ instance: candidate.instanceId }, `connected to ${candidate.host}:${candidate.port}`);
    const unwatch = watchdog.watch({
      progress: () => backend.bytesRead + backend.bytesWritten,
      isLeft: () => client.readableEnded && client.writableLength > 0,
      startedAt: this.#startedAt,
      kill: (why) => {
        log.debug({ instance: candidate.instanceId }, why);
        client.destroy();
        backend.destroy();
      },
    });
    relay(client, backend, (error) => {
      unwatch();
      counters.end(candidate.instanceId, backend.bytesWritten, backend.bytesRead);
      log.debug(
        {
          instance: candidate.instanceId,
          ms: now() - this.#startedAt,
          ...(error === undefined ? {} : { error: error.message }),
        },
        "connection closed",
      );
    });
  }

  #own(client: Duplex, address: AppAddress, name: string): void {
    if (address.port !== 80 || address.mode !== "terminate")
      return this.#explain(client, address, "invalid-name", name, {
        status: 404,
        text: `"${address.id}" answers on its default port only`,
      });
    this.#options.counters.outcomes.own += 1;
    this.#options.answers.own(client, address.id);
  }

  #explain(client: Duplex, address: AppAddress, outcome: Outcome, name: string, explanation: Explanation): void {
    this.#options.counters.outcomes[outcome] += 1;
    this.#options.log.info({ sni: name, outcome, reason: explanation.text }, "connection refused");
    // A client that negotiated h2 would take HTTP/1.1 for a broken peer.
    if (address.mode === "h2") client.end(() => client.destroy());
    else
      this.#options.answers.explain(client, {
        status: explanation.status,
        text: `${explanation.text} (asked for ${name})`,
      });
  }

  #drop(outcome: Outcome, reason: string, alert?: number): void {
    this.#options.counters.outcomes[outcome] += 1;
    this.#options.log[outcome === "hello-timeout" ? "debug" : "info"]({ outcome, reason }, "connection refused");
    if (alert === undefined || this.#socket.destroyed) {
      this.#socket.destroy();
      return;
    }
    this.#socket.end(Buffer.of(21, 3, 1, 0, 2, 2, alert), () => this.#socket.destroy());
  }
}
