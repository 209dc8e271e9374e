import type { CheckedCollateral } from "../checked-collateral.ts";
import { firstFailure } from "../checks.ts";

export interface KeptCollateral {
  readonly checked: CheckedCollateral;
  readonly fetchedAtMs: number;
  /** After a renewal nothing is asked before this. */
  readonly retryAtMs: number;
  /** A platform passed by this one or an earlier edition. */
  readonly passed: boolean;
  /** It, or an earlier edition, was on the disk: of the platforms before a restart nobody knows which passed. */
  readonly stored: boolean;
}

/** Platform families whose collateral is held in memory. */
const MAX_KEPT = 64;
/** From this age on it is asked for again in the background, and from the second on callers wait for the answer: a new revocation list is seen the same day. */
const REFRESH_AGE_MS = 2 * 60 * 60 * 1000;
const MAX_AGE_MS = 4 * 60 * 60 * 1000;
/** So long before the end of its validity it is asked for again. */
const AHEAD_OF_EXPIRY_MS = 6 * 60 * 60 * 1000;
const RETRY_MS = 60_000;
const IN_USE_MS = 24 * 60 * 60 * 1000;

/**
 * Collateral in memory, by platform key. Anybody can make up platforms of families that Intel knows:
 * beyond the bound those go first by which no platform ever passed, and of these what was on the disk last.
 */
export class KeptCollaterals {
  /** Least lately renewed first. */
  readonly #kept = new Map<string, KeptCollateral>();
  /** When a quote last called for what is kept, Unix milliseconds. */
  readonly #askedAt = new Map<string, number>();

  get(key: string): KeptCollateral | undefined {
    return this.#kept.get(key);
  }

  /** Fetched anew, at a time in Unix milliseconds. */
  renew(key: string, checked: CheckedCollateral, nowMs: number): void {
    this.#keep(key, { checked, fetchedAtMs: nowMs, retryAtMs: nowMs + RETRY_MS });
  }

  /** Read from the disk, where it was written then. */
  restore(key: string, checked: CheckedCollateral, writtenAtMs: number): void {
    this.#keep(key, { checked, fetchedAtMs: writtenAtMs, retryAtMs: 0, stored: true });
  }

  /** The same as of then, with newer documents in it. */
  bringUp(key: string, kept: KeptCollateral, checked: CheckedCollateral): KeptCollateral {
    if (kept.checked === checked) return kept;
    const newer = { ...kept, checked, passed: hasPassed(kept) };
    this.#kept.set(key, newer);
    return newer;
  }

  /** Nothing newer could be had. */
  postpone(key: string, { checked, fetchedAtMs }: KeptCollateral, nowMs: number): void {
    this.#keep(key, { checked, fetchedAtMs, retryAtMs: nowMs + RETRY_MS });
  }

  /** A quote calls for it, now. */
  asked(key: string, nowMs: number): void {
    if (this.#kept.has(key)) this.#askedAt.set(key, nowMs);
  }

  /** What quotes called for within a day: of the rest nobody minds that it ends. */
  inUse(nowMs: number): readonly CheckedCollateral[] {
    return [...this.#kept]
      .filter(([key]) => nowMs - (this.#askedAt.get(key) ?? Number.NEGATIVE_INFINITY) < IN_USE_MS)
      .map(([, { checked }]) => checked);
  }

  /** Keys by which platforms passed, or may have before a restart. */
  lastingKeys(): string[] {
    return [...this.#kept].filter(([, kept]) => standingOf(kept) > 0).map(([key]) => key);
  }

  #keep(key: string, edition: Omit<KeptCollateral, "passed" | "stored"> & { readonly stored?: true }): void {
    const before = this.#kept.get(key);
    this.#kept.delete(key);
    this.#kept.set(key, {
      ...edition,
      passed: before !== undefined && hasPassed(before),
      stored: edition.stored ?? before?.stored ?? false,
    });
    if (this.#kept.size <= MAX_KEPT) return;
    const others = [...this.#kept].filter(([other]) => other !== key);
    const [last] = others.toSorted(([, a], [, b]) => standingOf(a) - standingOf(b))[0] ?? [];
    if (last === undefined) return;
    this.#kept.delete(last);
    this.#askedAt.delete(last);
  }
}

const hasPassed = ({ checked, passed }: KeptCollateral): boolean => passed || checked.proven;

/** The higher, the later it goes. */
const standingOf = (kept: KeptCollateral): number => (hasPassed(kept) ? 2 : kept.stored ? 1 : 0);

/** What fails of it at a time in Unix milliseconds. */
export const problemOf = (checked: CheckedCollateral, nowMs: number): string | undefined =>
  firstFailure(checked.checksAt(Math.floor(nowMs / 1000)));

/** Whether it is young enough. A time ahead of a clock that was stepped back says nothing. */
export const isYoung = ({ checked, fetchedAtMs }: KeptCollateral, nowMs: number): boolean =>
  fetchedAtMs <= nowMs && nowMs < Math.min(fetchedAtMs + REFRESH_AGE_MS, checked.expiresAt * 1000 - AHEAD_OF_EXPIRY_MS);

/** Whether it was renewed, or that failed, just now. */
export const isPaused = ({ retryAtMs }: KeptCollateral, nowMs: number): boolean =>
  nowMs < retryAtMs && retryAtMs <= nowMs + RETRY_MS;

/** Whether callers need not wait for what is newer. */
export const isRecent = ({ fetchedAtMs }: KeptCollateral, nowMs: number): boolean =>
  fetchedAtMs <= nowMs && nowMs < fetchedAtMs + MAX_AGE_MS;
