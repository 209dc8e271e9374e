/** What the run and its workers say to each other. */

export interface WorkerStart {
  /** Copy of the checkout whose sources are instrumented. */
  readonly root: string;
  /** Modules to load before any test file: the packages under mutation. */
  readonly entries: readonly string[];
  /** Test files, relative to `root`. */
  readonly tests: readonly string[];
}

/** How often each mutant is reached, by where. */
export interface Survey {
  /** While the packages are loaded: only a fresh load shows such a mutant. */
  readonly loading: Readonly<Record<string, number>>;
  /** While a test file is loaded. */
  readonly files: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly units: readonly {
    readonly id: string;
    readonly file: string;
    readonly ms: number;
    readonly hits: Readonly<Record<string, number>>;
  }[];
  /** Tests that fail without any mutant; they judge nothing. */
  readonly broken: readonly string[];
}

export interface Job {
  readonly mutant: string;
  /** Units to run as loaded, cheapest first, each with the hits at which a loop counts as endless. */
  readonly inPlace: readonly { readonly id: string; readonly hitLimit: number; readonly limitMs: number }[];
  /** Test files to load afresh with the mutant switched on, and what to run of them. */
  readonly reload?: { readonly files: readonly string[]; readonly units: readonly string[]; readonly limitMs: number };
}

export type Verdict = "killed" | "survived" | "timeout";

export interface JobResult {
  readonly verdict: Verdict;
  /** The test that noticed. */
  readonly by?: string;
  /** The worker should not be used again: work of this mutant may still be going on in it. */
  readonly spoilt?: boolean;
  /** The test also fails without the mutant now: something is left of an earlier one. */
  readonly poisoned?: boolean;
  readonly reloaded?: boolean;
}

export type ToWorker = { readonly kind: "survey" } | { readonly kind: "job"; readonly job: Job };
export type FromWorker =
  | { readonly kind: "ready" }
  /** Before each test: silence longer than any test means an endless loop. */
  | { readonly kind: "alive" }
  | { readonly kind: "surveyed"; readonly survey: Survey }
  | { readonly kind: "done"; readonly result: JobResult }
  | { readonly kind: "failed"; readonly text: string };
