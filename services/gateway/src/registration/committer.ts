/**
 * Makes changes durable and effective in batches: everything that asks within one window, or
 * while the previous batch is being written, shares one write.
 */
export class Committer {
  readonly #write: () => Promise<void>;
  readonly #windowMs: number;
  #next: { readonly done: Promise<void>; readonly start: () => void } | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(write: () => Promise<void>, windowMs = 25) {
    this.#write = write;
    this.#windowMs = windowMs;
  }

  /** Resolves once a write that began after this call has ended; rejects when it failed. */
  commit(): Promise<void> {
    this.#next ??= this.#schedule();
    return this.#next.done;
  }

  /** Waits for what is under way, without its outcome. */
  async settle(): Promise<void> {
    this.#next?.start();
    await this.#next?.done.catch(() => undefined);
    await this.#running;
  }

  #schedule(): { done: Promise<void>; start: () => void } {
    const gate = Promise.withResolvers<void>();
    const timer = setTimeout(gate.resolve, this.#windowMs);
    const before = this.#running;
    const done = gate.promise
      .then(() => before)
      .then(() => {
        this.#next = undefined;
        return this.#write();
      });
    this.#running = done.catch(() => undefined); // Each caller sees the failure; the chain goes on.
    const start = (): void => {
      clearTimeout(timer);
      gate.resolve();
    };
    return { done, start };
  }
}
