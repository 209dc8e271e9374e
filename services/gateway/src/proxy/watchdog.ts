/** One relayed connection as the watchdog sees it. */
export interface Watched {
  /** Grows with every byte carried either way. */
  readonly progress: () => number;
  /** Whether the client has ended its half and leaves bytes unread: one that is there takes them soon. */
  readonly isLeft: () => boolean;
  readonly startedAt: number;
  readonly kill: (why: string) => void;
}

interface Entry extends Watched {
  lastProgress: number;
  lastChange: number;
}

export interface WatchdogOptions {
  /** Infinity for none. */
  readonly idleMs: number;
  readonly totalMs: number;
  /** Milliseconds. */
  readonly now: () => number;
}

const MIN_SAMPLE_MS = 500;
/**
 * For a client that seems to be gone. A reset is not always told of in TLS: after an end of the
 * client's half, Node waits for ever with what is still to be written, and the app's connection with it.
 */
const LEFT_MS = 30_000;

/** Ends connections that carried nothing for `idleMs` to 1.25 of it, or for 30 s to a client that left, or lasted `totalMs`: one timer for all. */
export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #entries = new Set<Entry>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  start(): void {
    const shortest = Math.min(this.#options.idleMs / 4, this.#options.totalMs / 4, LEFT_MS / 2);
    this.#timer = setInterval(() => this.sweep(), Math.max(shortest, MIN_SAMPLE_MS));
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** @returns what to call when the connection ends by itself */
  watch(connection: Watched): () => void {
    const entry: Entry = { ...connection, lastProgress: connection.progress(), lastChange: this.#options.now() };
    this.#entries.add(entry);
    return () => void this.#entries.delete(entry);
  }

  sweep(): void {
    const now = this.#options.now();
    for (const entry of this.#entries) {
      const progress = entry.progress();
      if (progress !== entry.lastProgress) {
        entry.lastProgress = progress;
        entry.lastChange = now;
      }
      const why =
        now - entry.startedAt >= this.#options.totalMs
          ? "connection kept too long, force closing"
          : now - entry.lastChange >= this.#options.idleMs
            ? "connection idle, closing"
            : now - entry.lastChange >= LEFT_MS && entry.isLeft()
              ? "the client left, closing"
              : undefined;
      if (why === undefined) continue;
      this.#entries.delete(entry);
      entry.kill(why);
    }
  }
}
