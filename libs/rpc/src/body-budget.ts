/** A body of this size or less is always read: what small ones take together is bounded by the connections. */
const SMALL_BYTES = 64 * 1024;

/** Bytes of request bodies that one listener holds at a time, beyond small ones. */
export class BodyBudget {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Counts what arrived of a body. @returns whether the body may go on */
  admit(chunkBytes: number, bodyBytes: number): boolean {
    this.#bytes += chunkBytes;
    return this.#bytes <= this.#maxBytes || bodyBytes <= SMALL_BYTES;
  }

  release(bodyBytes: number): void {
    this.#bytes -= bodyBytes;
  }
}
