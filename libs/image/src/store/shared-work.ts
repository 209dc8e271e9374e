/**
 * A piece of work for all who ask for it while it is under way. Whoever goes away no longer waits; the work goes on for
 * the others, and is told to end when the last one has gone.
 */
export class SharedWork<T> {
  readonly #given = new AbortController();
  /** For whoever looks on without waiting for it. */
  readonly result: Promise<T>;
  #waiting = 0;
  #isSettled = false;

  /** @param work begun at once; its signal fires when nobody waits any more */
  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.result = work(this.#given.signal).finally(() => (this.#isSettled = true));
    // A failure is for those who wait; after the last of them it is nobody's.
    this.result.catch(() => undefined);
  }

  /** Left by all, so that nothing comes of it: whoever comes now begins anew. */
  get isGivenUp(): boolean {
    return this.#given.signal.aborted;
  }

  /** @throws the signal's reason once it fires; whatever the work throws */
  async wait(signal?: AbortSignal): Promise<T> {
    this.#waiting++;
    if (signal === undefined) return this.result;
    const { promise: gone, reject } = Promise.withResolvers<never>();
    const leave = (): void => {
      reject(signal.reason as Error);
      if (--this.#waiting === 0 && !this.#isSettled) this.#given.abort(signal.reason);
    };
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([gone, this.result]);
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }
}
