export interface RateLimiterOptions {
  /** Calls that a key may make per minute, and at once after a minute of silence; 0 for no limit. */
  readonly perMinute: number;
  /** Keys that are remembered; the one that was quiet for the longest is forgotten first. */
  readonly maxKeys: number;
  readonly clock: { now(): number };
}

interface Bucket {
  tokens: number;
  at: number;
}

/** Token buckets by key, in bounded memory. */
export class RateLimiter {
  readonly #perMinute: number;
  readonly #maxKeys: number;
  readonly #clock: { now(): number };
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>();

  constructor({ perMinute, maxKeys, clock }: RateLimiterOptions) {
    this.#perMinute = perMinute;
    this.#maxKeys = maxKeys;
    this.#clock = clock;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Counts one call. @returns undefined where it may go on, else the seconds until the next may */
  take(key: string): number | undefined {
    if (this.#perMinute === 0) return undefined;
    const now = this.#clock.now();
    const bucket = this.#buckets.get(key) ?? { tokens: this.#perMinute, at: now };
    // A clock that was set back gives nothing; it does not take away either.
    const refill = (Math.max(0, now - bucket.at) * this.#perMinute) / 60_000;
    bucket.tokens = Math.min(this.#perMinute, bucket.tokens + refill);
    bucket.at = now;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#maxKeys) this.#forgetOldest();
    if (bucket.tokens < 1) return Math.ceil(((1 - bucket.tokens) * 60) / this.#perMinute);
    bucket.tokens -= 1;
    return undefined;
  }

  /** Takes one call out of the count; nothing where its key is forgotten by now. */
  giveBack(key: string): void {
    const bucket = this.#buckets.get(key);
    if (bucket !== undefined) bucket.tokens = Math.min(this.#perMinute, bucket.tokens + 1);
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}
