/** Collateral from provisioning services, kept in memory and on disk while it is valid. */
import { toHex } from "@dstack/bytes";
import { sha256 } from "@noble/hashes/sha2.js";
import type { CheckedCollateral } from "../checked-collateral.ts";
import { firstFailure } from "../checks.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { AttestError } from "../errors.ts";
import type { Quote } from "../quote.ts";
import type { TrustAnchor } from "../trust-anchor.ts";
import { CollateralFolder } from "./collateral-folder.ts";
import type { CollateralSource } from "./collateral-source.ts";
import { collateralKey, platformOf } from "./platform.ts";
import type { Platform } from "./platform.ts";
import { ProvisioningClient } from "./provisioning-client.ts";
import { checkCollateral } from "./verify-quote.ts";

/** Where collateral comes from unless an operator names a place; Intel signs it, so this one need not be trusted. */
export const PUBLIC_PCCS = "https://pccs.phala.network";

export interface CollateralFetcherOptions {
  /** Base URLs of PCS or PCCS, tried in this order. */
  readonly endpoints: readonly string[];
  /** What is served must be signed under it; the verifier's own. */
  readonly trustAnchor: TrustAnchor;
  /** For all attempts of one fetch together; 30,000 unless given. */
  readonly timeoutMs?: number;
  /** For one endpoint where there are several; 10,000 unless given. */
  readonly attemptTimeoutMs?: number;
  /** Keeps collateral across restarts. */
  readonly cacheFolder?: string;
  /** Collateral put there by `dstack collateral pin` is used as it is, and nothing is fetched for its platforms. */
  readonly pinFolder?: string;
  /** Told of failures that older collateral covered, and of a cache that cannot be read or written. */
  readonly onProblem?: (problem: Error) => void;
  /** Milliseconds. */
  readonly clock?: { now(): number };
  readonly fetch?: typeof globalThis.fetch;
}

interface Entry {
  readonly checked: CheckedCollateral;
  readonly fetchedAtMs: number;
  /** After a failed refresh nothing is asked before this. */
  readonly retryAtMs: number;
}

const MAX_CACHED = 64;
/** Platforms never seen before whose collateral is fetched at the same time. */
const MAX_STRANGERS = 32;
/** From this age on it is asked for again in the background, and from the second on callers wait for the answer: a new revocation list is seen the same day. */
const REFRESH_AGE_MS = 2 * 60 * 60 * 1000;
const MAX_AGE_MS = 4 * 60 * 60 * 1000;
/** So long before the end of its validity it is asked for again. */
const AHEAD_OF_EXPIRY_MS = 6 * 60 * 60 * 1000;
const RETRY_MS = 60_000;

/**
 * Serves only collateral whose every check holds at the time. Requests for the same platform share one
 * fetch. Where no endpoint answers with good collateral, what is there is served until it expires.
 */
export class CollateralFetcher implements CollateralSource {
  readonly #clients: readonly ProvisioningClient[];
  readonly #options: CollateralFetcherOptions;
  readonly #clock: { now(): number };
  readonly #cache: CollateralFolder | undefined;
  readonly #pins: CollateralFolder | undefined;
  readonly #entries = new Map<string, Entry>();
  readonly #pinned = new Map<string, CheckedCollateral>();
  readonly #pending = new Map<string, Promise<CheckedCollateral>>();
  #strangers = 0;
  /** Names of files must not mix trust anchors: collateral of one is noise to the other. */
  readonly #anchorTag: string;

  /** @throws AttestError `collateral-unavailable` where an endpoint is no URL or none is given */
  constructor(options: CollateralFetcherOptions) {
    const { endpoints, trustAnchor, fetch = globalThis.fetch } = options;
    if (endpoints.length === 0)
      throw new AttestError("collateral-unavailable", "collateral servers: expected at least one URL");
    this.#clients = endpoints.map((url) => new ProvisioningClient({ url, trustAnchor, fetch }));
    this.#options = options;
    this.#clock = options.clock ?? Date;
    this.#cache = options.cacheFolder === undefined ? undefined : new CollateralFolder(options.cacheFolder);
    this.#pins = options.pinFolder === undefined ? undefined : new CollateralFolder(options.pinFolder);
    this.#anchorTag = toHex(sha256(trustAnchor.publicKey)).slice(0, 16);
  }

  async collateralFor(quote: Quote, signal?: AbortSignal): Promise<QuoteCollateral> {
    const platform = platformOf(quote);
    const key = collateralKey(platform);
    const pinned = await this.#pinFor(key);
    // From here to the end nothing waits: a fetch is never begun that nobody holds, whose failure would end the process.
    if (signal?.aborted === true) throw waitAborted(signal);
    if (pinned !== undefined) return pinned;
    const known = this.#entries.get(key);
    const now = this.#clock.now();
    if (known !== undefined && problemOf(known.checked, now) === undefined) {
      if (now < Math.max(refreshAtMs(known), known.retryAtMs)) return known.checked;
      if (now < known.fetchedAtMs + MAX_AGE_MS) {
        this.#renewOnce(key, platform).catch((error: unknown) => this.#tell(error));
        return known.checked;
      }
    }
    const renewed = this.#renewOnce(key, platform);
    return signal === undefined ? renewed : unlessAborted(renewed, signal);
  }

  async #pinFor(key: string): Promise<CheckedCollateral | undefined> {
    if (this.#pins === undefined) return undefined;
    const known = this.#pinned.get(key);
    if (known !== undefined) return known;
    const stored = await this.#pins.read(key);
    if (stored === undefined) return undefined;
    // Served even where a check fails: verification then shows which, and nothing else may take its place.
    const checked = checkCollateral(stored.collateral, this.#options.trustAnchor);
    bounded(this.#pinned, key, checked);
    return checked;
  }

  // One for all callers, with its own deadline: one caller's abort must not fail the others.
  #renewOnce(key: string, platform: Platform): Promise<CheckedCollateral> {
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending;
    const renewal = this.#renew(key, platform).finally(() => this.#pending.delete(key));
    this.#pending.set(key, renewal);
    return renewal;
  }

  async #renew(key: string, platform: Platform): Promise<CheckedCollateral> {
    const known = this.#entries.get(key) ?? (await this.#fromDisk(key, platform));
    const now = this.#clock.now();
    const usable = known !== undefined && problemOf(known.checked, now) === undefined ? known : undefined;
    if (usable !== undefined && !this.#entries.has(key) && now < refreshAtMs(usable)) {
      bounded(this.#entries, key, usable);
      return usable.checked;
    }
    try {
      const checked = await (known === undefined ? this.#fetchForStranger(platform) : this.#fetchFromAny(platform));
      const at = this.#clock.now();
      bounded(this.#entries, key, { checked, fetchedAtMs: at, retryAtMs: at + RETRY_MS });
      await this.#cache?.write(this.#fileKey(key), checked).catch((error: unknown) => this.#tell(error));
      return checked;
    } catch (error) {
      const at = this.#clock.now();
      if (usable === undefined || problemOf(usable.checked, at) !== undefined) throw error;
      this.#tell(error);
      bounded(this.#entries, key, { ...usable, retryAtMs: at + RETRY_MS });
      return usable.checked;
    }
  }

  // Anybody can make up platforms; they must not keep those from fetching whose collateral held before.
  async #fetchForStranger(platform: Platform): Promise<CheckedCollateral> {
    if (this.#strangers >= MAX_STRANGERS)
      throw new AttestError(
        "collateral-unavailable",
        `collateral: ${MAX_STRANGERS} platforms are being fetched already; try again`,
      );
    this.#strangers++;
    try {
      return await this.#fetchFromAny(platform);
    } finally {
      this.#strangers--;
    }
  }

  async #fetchFromAny(platform: Platform): Promise<CheckedCollateral> {
    const { timeoutMs = 30_000, attemptTimeoutMs = this.#clients.length === 1 ? timeoutMs : 10_000 } = this.#options;
    const whole = AbortSignal.timeout(timeoutMs);
    const failures: AttestError[] = [];
    for (const client of this.#clients) {
      try {
        const signal = AbortSignal.any([whole, AbortSignal.timeout(attemptTimeoutMs)]);
        return this.#accept(await client.collateralOf(platform, signal), platform, client.host);
      } catch (error) {
        if (!(error instanceof AttestError)) throw error;
        failures.push(error);
        if (whole.aborted) break;
      }
    }
    const [first] = failures;
    if (first !== undefined && failures.length === 1) throw first;
    throw new AttestError(
      "collateral-unavailable",
      `collateral: no server of ${this.#clients.length} gave any: ${failures.map(({ message }) => message).join("; ")}`,
      { cause: first },
    );
  }

  /** What is kept and served must hold now and be for the platform asked for. */
  #accept(collateral: QuoteCollateral, platform: Platform, host: string): CheckedCollateral {
    const checked = checkCollateral(collateral, this.#options.trustAnchor);
    const problem = problemOf(checked, this.#clock.now()) ?? mismatchOf(checked, platform);
    if (problem !== undefined) throw new AttestError("collateral-rejected", `collateral server ${host}: ${problem}`);
    return checked;
  }

  async #fromDisk(key: string, platform: Platform): Promise<Entry | undefined> {
    try {
      const stored = await this.#cache?.read(this.#fileKey(key));
      if (stored === undefined) return undefined;
      const checked = this.#accept(stored.collateral, platform, "(cached)");
      // A time ahead of the clock counts as none: the age cannot be told.
      return { checked, fetchedAtMs: stored.writtenAtMs > this.#clock.now() ? 0 : stored.writtenAtMs, retryAtMs: 0 };
    } catch (error) {
      // Stale or corrupt: fetched anew, which replaces the file.
      this.#tell(error);
      return undefined;
    }
  }

  #fileKey(key: string): string {
    return `${key}-${this.#anchorTag}`;
  }

  #tell(error: unknown): void {
    this.#options.onProblem?.(error instanceof Error ? error : new Error(String(error)));
  }
}

const refreshAtMs = ({ checked, fetchedAtMs }: Entry): number =>
  Math.min(fetchedAtMs + REFRESH_AGE_MS, checked.expiresAt * 1000 - AHEAD_OF_EXPIRY_MS);

const problemOf = (checked: CheckedCollateral, nowMs: number): string | undefined =>
  firstFailure(checked.checksAt(Math.floor(nowMs / 1000)));

function mismatchOf({ documents }: CheckedCollateral, platform: Platform): string | undefined {
  const { id, fmspc } = documents.tcbInfo;
  if (id.toLowerCase() !== platform.tee) return `TCB info is for ${id}, asked for ${platform.tee.toUpperCase()}`;
  if (platform.kind === "known" && toHex(fmspc) !== platform.pck.fmspc.toLowerCase()) {
    return `TCB info is for FMSPC ${toHex(fmspc)}, asked for ${platform.pck.fmspc.toLowerCase()}`;
  }
  return undefined;
}

/** Sets, and lets the oldest go beyond the bound. */
function bounded<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  const oldest = map.keys().next();
  if (map.size > MAX_CACHED && oldest.done === false) map.delete(oldest.value);
}

const waitAborted = (signal: AbortSignal): AttestError =>
  new AttestError("collateral-unavailable", "collateral: the wait was aborted", { cause: signal.reason });

async function unlessAborted<T>(pending: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(waitAborted(signal));
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([pending, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
