import type { AuditLog } from "@dstack/audit-log";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { networkOf } from "@dstack/rpc";

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

interface Budget {
  /** Lines a minute, in all and from one address; the rest is counted, so that nobody can fill the disk. */
  readonly all: number;
  readonly ofAddress: number;
  /** Whether an address that has no line in this minute leaves one beyond `all`. */
  readonly alwaysOne: boolean;
}

/** Who asked for the root keys must stand in the log, whatever noise others make: with evidence that holds, and without. */
const ROOT_KEYS: Budget = { all: 1_000, ofAddress: 40, alwaysOne: true };
const ROOT_KEY_ACTIONS: ReadonlySet<string> = new Set(["kms-key", "GetKmsKey"]);
const OTHERS: Budget = { all: 120, ofAddress: 40, alwaysOne: false };
/** So many addresses have a first line in a minute. */
const MAX_ADDRESSES = 10_000;

/** The audit lines of refusals. They are written as far as the disk allows: without one nobody gets more than with it. */
export class RefusalRecord {
  readonly #audit: AuditLog;
  readonly #clock: { now(): number };
  readonly #log: Logger;
  /** By action where that has a budget of its own, and "" for the rest. */
  readonly #spent = new Map<string, Spent>();
  #minute = 0;

  constructor(options: { readonly audit: AuditLog; readonly clock: { now(): number }; readonly log: Logger }) {
    this.#audit = options.audit;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  async write(outcome: "refused" | "failed", entry: RefusalEntry): Promise<void> {
    const spent = this.#spentOn(entry.action);
    if (!take(ROOT_KEY_ACTIONS.has(entry.action) ? ROOT_KEYS : OTHERS, spent, networkOf(entry.remoteAddress ?? ""))) {
      spent.suppressed++;
      return;
    }
    const { suppressed } = spent;
    spent.suppressed = 0;
    try {
      await this.#audit.append({ outcome, ...entry, ...(suppressed === 0 ? {} : { suppressed }) });
    } catch (error) {
      spent.suppressed += suppressed;
      // The caller gets nothing either way; a full disk must not turn a refusal into another error.
      this.#log.error({ requestId: entry.requestId, error: errorChain(error) }, "refusal could not be recorded");
    }
  }

  #spentOn(action: string): Spent {
    const minute = Math.floor(this.#clock.now() / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      for (const spent of this.#spent.values()) {
        spent.recorded = 0;
        spent.ofAddress.clear();
      }
    }
    const key = ROOT_KEY_ACTIONS.has(action) ? action : "";
    const spent = this.#spent.get(key) ?? { recorded: 0, suppressed: 0, ofAddress: new Map<string, number>() };
    this.#spent.set(key, spent);
    return spent;
  }
}

interface Spent {
  /** Lines of this minute. */
  recorded: number;
  /** Refusals without a line since the last one. */
  suppressed: number;
  readonly ofAddress: Map<string, number>;
}

/** Whether there is a line left for this address. */
function take(budget: Budget, spent: Spent, address: string): boolean {
  const ofAddress = spent.ofAddress.get(address) ?? 0;
  const isFirst = ofAddress === 0 && budget.alwaysOne && spent.ofAddress.size < MAX_ADDRESSES;
  if (!isFirst && (spent.recorded >= budget.all || ofAddress >= budget.ofAddress)) return false;
  spent.recorded++;
  spent.ofAddress.set(address, ofAddress + 1);
  return true;
}
