import type { AuditEntry, AuditLog } from "@dstack/audit-log";
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
  /** Lines a minute: in all, from one address, and from one network; the rest is counted, so that nobody can fill the disk. */
  readonly all: number;
  readonly ofAddress: number;
  readonly ofNetwork: number;
  /** So many networks that have no line in this minute leave one beyond `all`. */
  readonly firsts: number;
}

/** Who asked for the root keys must stand in the log, whatever noise others make: with evidence that holds, and without. */
const ROOT_KEYS: Budget = { all: 1_000, ofAddress: 40, ofNetwork: 120, firsts: 200 };
const ROOT_KEY_ACTIONS: ReadonlySet<string> = new Set(["kms-key", "GetKmsKey"]);
const OTHERS: Budget = { all: 120, ofAddress: 40, ofNetwork: 120, firsts: 0 };
/** So many networks are named of those whose requests were counted alone. */
const MAX_NAMED = 20;
const MINUTE = 60_000;

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
    const isOfRootKeys = ROOT_KEY_ACTIONS.has(entry.action);
    const spent = this.#spentOn(entry.action);
    const address = entry.remoteAddress ?? "";
    if (!take(isOfRootKeys ? ROOT_KEYS : OTHERS, spent, address)) {
      if (spent.suppressed++ === 0 && isOfRootKeys) this.#sumUpLater(entry.action, spent);
      if (spent.suppressedFrom.size < MAX_NAMED) spent.suppressedFrom.add(networkOf(address, 48));
      return;
    }
    await this.#append(spent, { outcome, ...entry }, entry.requestId);
  }

  /** Nobody may ask for the root keys unseen, behind a flood of others, also where no line comes after it. */
  #sumUpLater(action: string, spent: Spent): void {
    const write = async (): Promise<void> => {
      const { suppressed } = spent;
      if (suppressed === 0) return;
      const reason = `${suppressed} more requests than have lines of their own`;
      await this.#append(spent, { outcome: "refused", action, reason, rule: "audit-budget", field: "remoteAddress" });
    };
    setTimeout(() => void write(), MINUTE - (this.#clock.now() % MINUTE)).unref();
  }

  async #append(spent: Spent, entry: AuditEntry, requestId?: string): Promise<void> {
    const { suppressed, suppressedFrom } = spent;
    spent.suppressed = 0;
    spent.suppressedFrom = new Set();
    try {
      await this.#audit.append({
        ...entry,
        ...(suppressed === 0 ? {} : { suppressed, suppressedFrom: [...suppressedFrom] }),
      });
    } catch (error) {
      spent.suppressed += suppressed;
      for (const network of suppressedFrom) spent.suppressedFrom.add(network);
      // The caller gets nothing either way; a full disk must not turn a refusal into another error.
      this.#log.error({ requestId, error: errorChain(error) }, "refusal could not be recorded");
    }
  }

  #spentOn(action: string): Spent {
    const minute = Math.floor(this.#clock.now() / MINUTE);
    if (minute !== this.#minute) {
      this.#minute = minute;
      for (const spent of this.#spent.values()) {
        spent.recorded = 0;
        spent.firsts = 0;
        spent.of.clear();
      }
    }
    const key = ROOT_KEY_ACTIONS.has(action) ? action : "";
    const spent = this.#spent.get(key) ?? {
      recorded: 0,
      firsts: 0,
      of: new Map<string, number>(),
      suppressed: 0,
      suppressedFrom: new Set<string>(),
    };
    this.#spent.set(key, spent);
    return spent;
  }
}

interface Spent {
  /** Lines of this minute: in all, beyond those that everybody shares, and by address and network. */
  recorded: number;
  firsts: number;
  readonly of: Map<string, number>;
  /** Refusals without a line since the last one, and networks that they came from. */
  suppressed: number;
  suppressedFrom: Set<string>;
}

/** Whether there is a line left for this address. */
function take(budget: Budget, spent: Spent, remoteAddress: string): boolean {
  const address = `of ${networkOf(remoteAddress)}`;
  const network = `around ${networkOf(remoteAddress, 48)}`;
  const ofAddress = spent.of.get(address) ?? 0;
  const ofNetwork = spent.of.get(network) ?? 0;
  if (ofAddress >= budget.ofAddress || ofNetwork >= budget.ofNetwork) return false;
  const isBeyond = spent.recorded >= budget.all;
  if (isBeyond && (ofNetwork > 0 || spent.firsts >= budget.firsts)) return false;
  if (isBeyond) spent.firsts++;
  else spent.recorded++;
  spent.of.set(address, ofAddress + 1);
  spent.of.set(network, ofNetwork + 1);
  return true;
}
