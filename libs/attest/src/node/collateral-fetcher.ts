/** Collateral from provisioning services, kept in memory and on disk while it is valid. */
import { toHex } from "@dstack/bytes";
import { streamedFetch } from "@dstack/http";
import { sha256 } from "#sha2";
import type { CheckedCollateral } from "../checked-collateral.ts";
import { firstFailure } from "../checks.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { AttestError } from "../errors.ts";
import type { Quote } from "../quote.ts";
import { daysLeftOf, signedDocumentsOf, type DocumentKind } from "../signed-document.ts";
import type { TrustAnchor } from "../trust-anchor.ts";
import { CollateralFolder } from "./collateral-folder.ts";
import { CollateralServers } from "./collateral-servers.ts";
import type { CollateralSource } from "./collateral-source.ts";
import { isPaused, isRecent, isYoung, KeptCollaterals, problemOf } from "./kept-collateral.ts";
import type { KeptCollateral } from "./kept-collateral.ts";
import { NewestDocuments } from "./newest-documents.ts";
import { PinnedCollateral } from "./pinned-collateral.ts";
import { collateralKey, keyOfCollateral, platformOf } from "./platform.ts";
import type { Platform } from "./platform.ts";
import { raced, waitAborted } from "./raced.ts";
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
  /** Told of failures that another server or older collateral covered, and of a cache that cannot be read or written. */
  readonly onProblem?: (problem: Error) => void;
  /** Milliseconds. */
  readonly clock?: { now(): number };
  readonly fetch?: typeof globalThis.fetch;
}

/** Platforms never seen before whose collateral is fetched at the same time. */
const MAX_STRANGERS = 32;
/** How long callers wait for a renewal while what is there is valid. */
const PATIENCE_MS = 3_000;

interface Renewal {
  readonly result: Promise<CheckedCollateral>;
  readonly begunAtMs: number;
}

/**
 * Serves only collateral whose every check holds at the time, and never an edition of a document that
 * is older than one seen before, for whichever platform that came. Requests for the same platform share one fetch. Where no endpoint
 * answers with good collateral, or none in time, what is there is served until it expires.
 */
export class CollateralFetcher implements CollateralSource {
  readonly #options: CollateralFetcherOptions;
  readonly #servers: CollateralServers;
  readonly #clock: { now(): number };
  readonly #cache: CollateralFolder | undefined;
  readonly #pins: PinnedCollateral | undefined;
  readonly #kept = new KeptCollaterals();
  readonly #newest = new NewestDocuments();
  readonly #pending = new Map<string, Renewal>();
  /** Keys of what was brought up in memory: its file must know by itself when that of the other platform is gone. */
  readonly #behindOnDisk = new Set<string>();
  #opened: Promise<void> | undefined;
  #strangers = 0;
  /** Names of files must not mix trust anchors: collateral of one is noise to the other. */
  readonly #anchorTag: string;

  /** @throws AttestError `collateral-unavailable` where an endpoint is no URL or none is given */
  constructor(options: CollateralFetcherOptions) {
    const { trustAnchor, cacheFolder, pinFolder, timeoutMs = 30_000, attemptTimeoutMs = 10_000 } = options;
    this.#servers = new CollateralServers({
      endpoints: options.endpoints,
      trustAnchor,
      fetch: options.fetch ?? streamedFetch,
      timeoutMs,
      attemptTimeoutMs,
      onFailure: (failure) => this.#tell(failure),
    });
    this.#options = options;
    this.#clock = options.clock ?? Date;
    this.#cache = cacheFolder === undefined ? undefined : new CollateralFolder(cacheFolder);
    this.#pins = pinFolder === undefined ? undefined : new PinnedCollateral(pinFolder, trustAnchor);
    this.#anchorTag = toHex(sha256(trustAnchor.publicKey)).slice(0, 16);
  }

  async collateralFor(quote: Quote, signal?: AbortSignal): Promise<QuoteCollateral> {
    const platform = platformOf(quote);
    const key = collateralKey(platform);
    const pinned = await this.#pins?.pinFor(key);
    await this.open();
    // From here to the end nothing waits: a fetch is never begun that nobody holds, whose failure would end the process.
    if (signal?.aborted === true) throw waitAborted(signal);
    if (pinned !== undefined) return pinned;
    const known = this.#known(key);
    const now = this.#clock.now();
    this.#kept.asked(key, now);
    const isGood = known !== undefined && problemOf(known.checked, now) === undefined;
    if (isGood && (isYoung(known, now) || isPaused(known, now))) return known.checked;
    const renewal = this.#renewOnce(key, platform);
    if (!isGood) return raced(renewal.result, signal);
    if (isRecent(known, now)) {
      renewal.result.catch((error: unknown) => this.#tell(error));
      return known.checked;
    }
    return raced(renewal.result, signal, { ...this.#patience(renewal, now), value: known.checked });
  }

  /** Reads the cache on disk, once; `collateralFor` does so first. Never rejects. */
  open(): Promise<void> {
    this.#opened ??= this.#open().catch((error: unknown) => this.#tell(error));
    return this.#opened;
  }

  /**
   * Days until the first document of each kind ends, of collateral that quotes called for within a day; below
   * zero where one has ended. A renewal raises it again: where it falls for days, the servers give nothing new.
   */
  daysLeft(): ReadonlyMap<DocumentKind, number> {
    const now = this.#clock.now();
    return daysLeftOf(
      this.#kept.inUse(now).flatMap(({ documents }) => signedDocumentsOf(documents)),
      Math.floor(now / 1000),
    );
  }

  /** What is kept, with what another platform's answer moved forward: a revocation counts for all at once. */
  #known(key: string): KeptCollateral | undefined {
    const known = this.#kept.get(key);
    if (known === undefined) return undefined;
    const current = this.#newest.current(known.checked);
    if (current === known.checked) return known;
    this.#behindOnDisk.add(key);
    return this.#kept.bringUp(key, known, current);
  }

  /** All who ask during one renewal wait for its first seconds only. */
  #patience({ begunAtMs }: Renewal, now: number): { readonly afterMs: number } {
    return { afterMs: Math.min(PATIENCE_MS, Math.max(0, begunAtMs + PATIENCE_MS - now)) };
  }

  async #open(): Promise<void> {
    const suffix = `-${this.#anchorTag}`;
    const names = (await this.#cache?.keys()) ?? [];
    for (const name of names.filter((one) => one.endsWith(suffix)))
      await this.#restore(name.slice(0, -suffix.length)).catch((error: unknown) => this.#tell(error));
  }

  // What has expired is held too: the next edition must not be older, and its platform is no stranger.
  async #restore(key: string): Promise<void> {
    const stored = await this.#stored(key);
    if (stored === undefined) return;
    const { checked, writtenAtMs } = stored;
    this.#newest.learn(checked);
    this.#kept.restore(key, checked, writtenAtMs);
    const ended = problemOf(checked, this.#clock.now());
    if (ended !== undefined) this.#tell(rejected("(cached)", ended));
  }

  /** What is on the disk, if it is sound; it may have expired. @throws AttestError where it is not */
  async #stored(key: string): Promise<{ checked: CheckedCollateral; writtenAtMs: number } | undefined> {
    const stored = await this.#cache?.read(this.#nameOf(key));
    if (stored === undefined) return undefined;
    const checked = checkCollateral(stored.collateral, this.#options.trustAnchor);
    const problem =
      firstFailure(checked.judgements.map(({ name: check, outcome }) => ({ name: check, ...outcome }))) ??
      wrongFile(checked, key);
    if (problem !== undefined) throw rejected("(cached)", problem);
    return { checked, writtenAtMs: stored.writtenAtMs };
  }

  #nameOf(key: string): string {
    return `${key}-${this.#anchorTag}`;
  }

  // One for all callers, with its own deadline: one caller's abort must not fail the others.
  #renewOnce(key: string, platform: Platform): Renewal {
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending;
    const result = this.#renew(key, platform).finally(() => this.#pending.delete(key));
    const renewal = { result, begunAtMs: this.#clock.now() };
    this.#pending.set(key, renewal);
    return renewal;
  }

  async #renew(key: string, platform: Platform): Promise<CheckedCollateral> {
    // What made-up platforms drove out of memory is still on the disk, and needs none of the places to fetch.
    if (this.#kept.get(key) === undefined) await this.#restore(key).catch((error: unknown) => this.#tell(error));
    const known = this.#known(key);
    const begun = this.#clock.now();
    if (known !== undefined && problemOf(known.checked, begun) === undefined && isYoung(known, begun))
      return known.checked;
    try {
      const checked = await (known === undefined ? this.#fetchForStranger(platform) : this.#fetch(platform));
      const now = this.#clock.now();
      this.#kept.renew(key, checked, now);
      this.#kept.asked(key, now);
      await this.#write(key, checked);
      await this.#writeBehind();
      return this.#newest.current(checked);
    } catch (error) {
      const now = this.#clock.now();
      const held = this.#known(key);
      if (held === undefined || problemOf(held.checked, now) !== undefined) throw error;
      this.#tell(error);
      this.#kept.postpone(key, held, now);
      await this.#writeBehind();
      return held.checked;
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
      return await this.#fetch(platform);
    } finally {
      this.#strangers--;
    }
  }

  #fetch(platform: Platform): Promise<CheckedCollateral> {
    return this.#servers.ask(platform, (collateral, host) => this.#accept(collateral, platform, host));
  }

  /** What is kept and served must hold now, be for the platform asked for, and not go back. */
  #accept(collateral: QuoteCollateral, platform: Platform, host: string): CheckedCollateral {
    const checked = checkCollateral(collateral, this.#options.trustAnchor);
    const problem =
      problemOf(checked, this.#clock.now()) ?? mismatchOf(checked, platform) ?? this.#newest.olderOf(checked);
    if (problem !== undefined) throw rejected(host, problem);
    this.#newest.learn(checked);
    return checked;
  }

  // Another process may have written a newer edition meanwhile: it is learnt, and the newest of both is what stays.
  async #write(key: string, checked: CheckedCollateral): Promise<void> {
    if (this.#cache === undefined) return;
    const stored = await this.#stored(key).catch((error: unknown) => this.#tell(error));
    if (stored !== undefined) this.#newest.learn(stored.checked);
    const lasting = new Set(this.#kept.lastingKeys().map((one) => this.#nameOf(one)));
    await this.#cache
      .write(this.#nameOf(key), this.#newest.current(checked), lasting)
      .catch((error: unknown) => this.#tell(error));
  }

  async #writeBehind(): Promise<void> {
    for (const key of this.#behindOnDisk) {
      this.#behindOnDisk.delete(key);
      const kept = this.#kept.get(key);
      if (kept !== undefined) await this.#write(key, kept.checked);
    }
  }

  #tell(error: unknown): void {
    this.#options.onProblem?.(error instanceof Error ? error : new Error(String(error)));
  }
}

const rejected = (host: string, problem: string): AttestError =>
  new AttestError("collateral-rejected", `collateral server ${host}: ${problem}`);

function mismatchOf({ documents }: CheckedCollateral, platform: Platform): string | undefined {
  const { id, fmspc } = documents.tcbInfo;
  if (id.toLowerCase() !== platform.tee) return `TCB info is for ${id}, asked for ${platform.tee.toUpperCase()}`;
  if (platform.kind === "known" && toHex(fmspc) !== platform.pck.fmspc.toLowerCase()) {
    return `TCB info is for FMSPC ${toHex(fmspc)}, asked for ${platform.pck.fmspc.toLowerCase()}`;
  }
  return undefined;
}

/** A file under another platform's name. Of an encrypted PPID the name says the TEE alone. */
function wrongFile(checked: CheckedCollateral, key: string): string | undefined {
  const { id, fmspc } = checked.documents.tcbInfo;
  const own = keyOfCollateral(checked);
  const isNamed = /^(?:tdx|sgx)-pck-/.test(key) ? key.slice(0, 3) === own.slice(0, 3) : key === own;
  return isNamed ? undefined : `TCB info is for ${id}, FMSPC ${toHex(fmspc)}; the file is named ${key}`;
}
