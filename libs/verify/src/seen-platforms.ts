/** Which platforms showed evidence that held, and how current each was: for metrics. */
import type { QuoteClaims, TcbStatus } from "@dstack/attest";
import { toHex } from "@dstack/bytes";

/** Platforms of one family and status. */
export interface PlatformCount {
  /** Hex. */
  readonly fmspc: string;
  readonly status: TcbStatus;
  readonly count: number;
}

/** A platform that is not seen for so long does not count any more: nobody knows how it is now. */
const KEPT_MS = 24 * 60 * 60 * 1000;
const MAX_PLATFORMS = 4096;

/** Remembers of each platform its last verdict, for a day, and of so many at most; least recently seen out first. */
export class SeenPlatforms {
  readonly #clock: { now(): number };
  readonly #seen = new Map<string, { readonly fmspc: string; readonly status: TcbStatus; readonly atMs: number }>();

  /** @param clock milliseconds */
  constructor(clock: { now(): number }) {
    this.#clock = clock;
  }

  /** Of a quote that held. */
  saw({ ppid, fmspc, status }: Pick<QuoteClaims, "ppid" | "fmspc" | "status">): void {
    const key = toHex(ppid);
    this.#seen.delete(key);
    this.#seen.set(key, { fmspc: toHex(fmspc), status, atMs: this.#clock.now() });
    const oldest = this.#seen.keys().next();
    if (this.#seen.size > MAX_PLATFORMS && oldest.done === false) this.#seen.delete(oldest.value);
  }

  /** Those of the last day, by family and status. */
  counts(): readonly PlatformCount[] {
    const from = this.#clock.now() - KEPT_MS;
    const known = [...this.#seen.values()].filter(({ atMs }) => atMs > from);
    return [...Map.groupBy(known, ({ fmspc, status }) => `${fmspc} ${status}`).values()].flatMap((group) => {
      const [first] = group;
      return first === undefined ? [] : [{ fmspc: first.fmspc, status: first.status, count: group.length }];
    });
  }
}
