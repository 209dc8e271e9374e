/** A body of this size or less is always read: what small ones take together is bounded by the connections. */
const SMALL_BYTES = 64 * 1024;

/** One body that is being read. */
export interface BodyShare {
  /** Counts what arrived of it. @returns whether the body may go on */
  admit(chunkBytes: number): boolean;
  release(): void;
}

/**
 * Bytes of request bodies that one listener holds at a time, beyond small ones. Where they are used up, the body that
 * is under way for the longest is given up: a few that never end must not keep the others out.
 */
export class BodyBudget {
  readonly #maxBytes: number;
  #bytes = 0;
  /** Oldest first. */
  readonly #bodies = new Set<{ bytes: number; readonly giveUp: () => void }>();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @param giveUp ends the reading of this body */
  open(giveUp: () => void): BodyShare {
    const body = { bytes: 0, giveUp };
    this.#bodies.add(body);
    const release = (given: typeof body): void => {
      if (this.#bodies.delete(given)) this.#bytes -= given.bytes;
    };
    return {
      admit: (chunkBytes) => {
        if (!this.#bodies.has(body)) return false;
        body.bytes += chunkBytes;
        this.#bytes += chunkBytes;
        if (body.bytes <= SMALL_BYTES) return true;
        for (const other of this.#bodies) {
          if (this.#bytes <= this.#maxBytes) return true;
          if (other === body || other.bytes <= SMALL_BYTES) continue;
          release(other);
          other.giveUp();
        }
        return this.#bytes <= this.#maxBytes;
      },
      release: () => release(body),
    };
  }
}
