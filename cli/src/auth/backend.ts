import type { BootInfo, BootKind, Decision, PolicyChange, PolicyDocument } from "@dstack/governance";

/** One entry of a history, whatever keeps it. */
export interface HistoryLine {
  /** ISO 8601, or a block. */
  readonly at: string;
  readonly by: string;
  readonly what: readonly string[];
}

export interface History {
  readonly lines: readonly HistoryLine[];
  /** Why the history cannot be relied on; undefined for a good one. */
  readonly broken: string | undefined;
}

/** Where a policy is kept. The verbs of `dstack auth` are the same for each. */
export interface AuthBackend {
  /** For people: the file, or contract and chain. */
  readonly name: string;
  /** The options that select this backend again, for commands that are proposed. */
  readonly selector: string;
  document(): Promise<PolicyDocument>;
  /** Makes the changes. Returns lines about what happened. */
  apply(changes: readonly PolicyChange[]): Promise<readonly string[]>;
  decide(kind: BootKind, boot: BootInfo): Promise<Decision & { readonly basis?: string }>;
  /** @param signedBy fingerprints of the keys that count; any key where empty */
  history(signedBy: readonly string[]): Promise<History>;
}
