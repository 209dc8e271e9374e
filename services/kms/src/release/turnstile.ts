import { KmsError } from "../errors.ts";

/**
 * Lets so many through at a time; the rest waits in the order in which it came. When a whole fleet
 * boots at once, the auth server is asked at a pace at which it answers before the deadline.
 */
export class Turnstile {
  readonly #places: number;
  readonly #maxWaiting: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  constructor(options: { readonly places: number; readonly maxWaiting: number }) {
    this.#places = options.places;
    this.#maxWaiting = options.maxWaiting;
  }

  /** @throws KmsError `overloaded` where too many wait; the signal's reason for who gives up waiting */
  async through<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    await this.#enter(signal);
    try {
      return await run();
    } finally {
      const [next] = this.#waiting;
      // The place goes over to the next, so that nobody slips in between.
      if (next === undefined) this.#taken--;
      else next();
    }
  }

  #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#taken < this.#places) {
      this.#taken++;
      return Promise.resolve();
    }
    if (this.#waiting.size >= this.#maxWaiting)
      throw new KmsError("overloaded", `${this.#maxWaiting} requests wait for the auth server already; try again`);
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        leave();
        resolve();
      };
      const giveUp = (): void => {
        leave();
        reject(signal.reason as Error);
      };
      const leave = (): void => {
        this.#waiting.delete(enter);
        signal.removeEventListener("abort", giveUp);
      };
      this.#waiting.add(enter);
      signal.addEventListener("abort", giveUp, { once: true });
    });
  }
}
