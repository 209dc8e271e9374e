/**
 * The tunnel that carries connections to CVMs.
 * In: the registry's keys and addresses. Out: an interface with these peers, and when each was last heard of.
 * The kernel's WireGuard or wireguard-go, as the configuration and the host have it.
 * A change that failed is tried again; the last endpoints are kept, so that a restart speaks first.
 * Never: a peer that is not registered; an interface that stays after the stop.
 */
import { join } from "node:path";
import { readTextIfExists, writeFileAtomic, writeJsonAtomic } from "@dstack/files";
import type { Logger } from "@dstack/log";
import {
  formatEndpoint,
  KEEPALIVE_SECONDS,
  openWireGuard,
  parseEndpoint,
  renderGatewayConfig,
  type Endpoint,
  type PeerState,
  type WireGuardInterface,
} from "@dstack/wireguard";
import type { WireGuardSettings } from "../config/gateway-config.ts";
import type { Instance } from "../registration/instance.ts";

export interface TunnelOptions {
  readonly settings: WireGuardSettings;
  readonly dataDir: string;
  readonly log: Logger;
  /** Milliseconds. */
  readonly now: () => number;
  /** The instances as they are now, in the order of their ids. */
  readonly instances: () => readonly Instance[];
  readonly onFailure: () => void;
}

const REFRESH_MS = 10_000;
const MIN_REFRESH_GAP_MS = 250;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 30_000;

/**
 * The WireGuard device of this node: brings peers to what the registry says, keeps trying when
 * that fails, and knows who was heard of when.
 */
export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #hintsPath: string;
  #device: WireGuardInterface | undefined;
  #hints = new Map<string, Endpoint>();
  #savedHints = "";
  #peers = new Map<string, PeerState>();
  #refreshedAt = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | undefined;
  #applying: Promise<void> = Promise.resolve();
  #refreshTimer: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MIN_MS;
  #closed = false;
  #healthy = false;

  constructor(options: TunnelOptions) {
    this.#options = options;
    this.#hintsPath = join(options.dataDir, "wg-endpoints.json");
  }

  /** False while the device does not carry what was registered. */
  get healthy(): boolean {
    return this.#healthy;
  }

  get backend(): WireGuardInterface["backend"] | undefined {
    return this.#device?.backend;
  }

  /** @throws WireGuardError when the device cannot be made or refuses its key or port */
  async open(): Promise<void> {
    this.#hints = await readHints(this.#hintsPath, this.#options.log);
    await this.#openDevice();
    await this.#write();
    this.#refreshTimer = setInterval(() => void this.refresh(), REFRESH_MS);
    this.#refreshTimer.unref();
  }

  /**
   * Writes the configuration file and gives the device its peers. A failure is logged and tried
   * again later: a registration stays valid, its traffic flows once the device takes it.
   */
  apply(): Promise<void> {
    const run = this.#applying.then(() => this.#applyOnce());
    this.#applying = run;
    return run;
  }

  /** Unix seconds of the newest handshake with an instance's key; undefined for none since the device was made. */
  latestHandshake(publicKey: string): number | undefined {
    const time = this.#peers.get(publicKey)?.latestHandshake;
    return time === undefined || time === 0 ? undefined : time;
  }

  /** Reads the device again unless that was done just now. */
  refresh(): Promise<void> {
    if (this.#refreshing !== undefined) return this.#refreshing;
    if (this.#device === undefined || this.#options.now() - this.#refreshedAt < MIN_REFRESH_GAP_MS)
      return Promise.resolve();
    this.#refreshing = this.#refreshOnce(this.#device).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Removes the device. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#refreshTimer);
    clearTimeout(this.#retryTimer);
    await this.#applying;
    if (this.#device === undefined) return;
    await this.#refreshOnce(this.#device);
    await this.#device.close();
    this.#device = undefined;
  }

  async #openDevice(): Promise<void> {
    const { settings, log } = this.#options;
    this.#device = await openWireGuard({
      name: settings.interface,
      address: settings.ip,
      backend: settings.backend,
      onLost: (error) => this.#lost(error),
    });
    log.info(
      { interface: settings.interface, backend: this.#device.backend, port: settings.listenPort },
      "WireGuard interface is up",
    );
  }

  #lost(error: Error): void {
    if (this.#closed) return;
    this.#options.log.error({ error: error.message }, "the WireGuard device is gone, making it again");
    const device = this.#device;
    this.#device = undefined;
    this.#hints = new Map(
      [...this.#peers].flatMap(([key, peer]): [string, Endpoint][] =>
        peer.endpoint === undefined ? [] : [[key, peer.endpoint]],
      ),
    );
    this.#healthy = false;
    this.#options.onFailure();
    void device
      ?.close()
      .catch((cause: unknown) =>
        this.#options.log.warn({ error: String(cause) }, "left-overs of the WireGuard device"),
      );
    this.#scheduleRetry();
  }

  async #applyOnce(): Promise<void> {
    if (this.#closed) return;
    try {
      if (this.#device === undefined) await this.#openDevice();
      await this.#write();
      this.#retryMs = RETRY_MIN_MS;
    } catch (error) {
      this.#healthy = false;
      this.#options.onFailure();
      this.#options.log.error({ error: (error as Error).message, retryMs: this.#retryMs }, "failed to set wg config");
      this.#scheduleRetry();
    }
  }

  async #write(): Promise<void> {
    const { settings, instances, log } = this.#options;
    const peers = instances();
    await writeFileAtomic(settings.configPath, renderGatewayConfig(settings.privateKey, settings.listenPort, peers));
    await this.#device?.apply({
      privateKey: settings.privateKey,
      listenPort: settings.listenPort,
      peers: peers.map(({ publicKey, address }) => {
        const endpoint = this.#hints.get(publicKey);
        return {
          publicKey,
          allowedIps: [{ address, prefix: 32 }],
          keepaliveSeconds: KEEPALIVE_SECONDS,
          ...(endpoint === undefined ? {} : { endpoint }),
        };
      }),
    });
    // Only for a new device: later they would undo that a peer moved.
    this.#hints.clear();
    this.#healthy = true;
    log.debug({ peers: peers.length }, "wg config updated");
  }

  #scheduleRetry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => void this.apply(), this.#retryMs);
    this.#retryTimer.unref();
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  async #refreshOnce(device: WireGuardInterface): Promise<void> {
    try {
      const states = await device.peers();
      this.#peers = new Map(states.map((state) => [state.publicKey, state]));
      this.#refreshedAt = this.#options.now();
      await this.#saveHints(states);
    } catch (error) {
      this.#options.log.warn({ error: (error as Error).message }, "handshakes could not be read");
    }
  }

  /**
   * Keeps where peers were last heard from: after a restart the gateway speaks first, instead of
   * waiting up to two minutes for each CVM to notice that its session is gone.
   */
  async #saveHints(states: readonly PeerState[]): Promise<void> {
    const seen = states.filter((state) => state.endpoint !== undefined && state.latestHandshake > 0);
    const hints = Object.fromEntries(
      seen.map((state): [string, string] => [state.publicKey, formatEndpoint(state.endpoint as Endpoint)]).sort(),
    );
    const text = JSON.stringify(hints);
    if (text === this.#savedHints || (seen.length === 0 && this.#savedHints === "")) return;
    await writeJsonAtomic(this.#hintsPath, hints);
    this.#savedHints = text;
  }
}

/** Hints only: a file that cannot be read costs a minute of waiting, not an address. */
async function readHints(path: string, log: Logger): Promise<Map<string, Endpoint>> {
  try {
    const value: unknown = JSON.parse((await readTextIfExists(path)) ?? "{}");
    return new Map(Object.entries(value as Record<string, string>).map(([key, text]) => [key, parseEndpoint(text)]));
  } catch (error) {
    log.warn({ error: (error as Error).message }, "last endpoints of peers cannot be read and are forgotten");
    return new Map();
  }
}
