import type { AuditLog } from "@dstack/audit-log";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";

/** What the log says of a request that got nothing. */
export interface RefusalEntry {
  readonly action: string;
  readonly reason: string;
  /** What decided, and which value it looked at. */
  readonly rule: string;
  readonly field: string;
  readonly requestId: string;
  readonly remoteAddress: string | undefined;
}

/** Lines a minute for requests that got nothing, in all and from one address; the rest is counted, so that nobody can fill the disk. */
const MAX_A_MINUTE = 120;
const MAX_OF_ONE_ADDRESS = 40;

/** The audit lines of refusals. They are written as far as the disk allows: without one nobody gets more than with it. */
export class RefusalRecord {
  readonly #audit: AuditLog;
  readonly #clock: { now(): number };
  readonly #log: Logger;
  readonly #ofAddress = new Map<string, number>();
  #minute = 0;
  #recorded = 0;
  #suppressed = 0;

  constructor(options: { readonly audit: AuditLog; readonly clock: { now(): number }; readonly log: Logger }) {
    this.#audit = options.audit;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  async write(outcome: "refused" | "failed", entry: RefusalEntry): Promise<void> {
    if (!this.#take(entry.remoteAddress ?? "")) {
      this.#suppressed++;
      return;
    }
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    try {
      await this.#audit.append({ outcome, ...entry, ...(suppressed === 0 ? {} : { suppressed }) });
    } catch (error) {
      this.#suppressed += suppressed;
      // The caller gets nothing either way; a full disk must not turn a refusal into another error.
      this.#log.error({ requestId: entry.requestId, error: errorChain(error) }, "refusal could not be recorded");
    }
  }

  #take(address: string): boolean {
    const minute = Math.floor(this.#clock.now() / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#recorded = 0;
      this.#ofAddress.clear();
    }
    const ofAddress = this.#ofAddress.get(address) ?? 0;
    if (this.#recorded >= MAX_A_MINUTE || ofAddress >= MAX_OF_ONE_ADDRESS) return false;
    this.#recorded++;
    this.#ofAddress.set(address, ofAddress + 1);
    return true;
  }
}
