import type { Random } from "./random.ts";

/** A reader of untrusted bytes and how to make inputs that get far into it. */
export interface Target {
  readonly name: string;
  /** What is read, for `--list`. */
  readonly about: string;
  /** Folder, relative to the checkout, in which inputs that once failed are kept. */
  readonly findings: string;
  /** Valid inputs to start from. */
  readonly seeds: () => readonly Uint8Array[];
  /** A mangled copy of `seed`; `other` is another input of the corpus. */
  readonly mutate: (random: Random, seed: Uint8Array, other: Uint8Array) => Uint8Array;
  /**
   * Reads one input, in full.
   * @returns in a word what became of it; inputs with a new word are kept as seeds
   * @throws an error that `isRefusal` knows where the input was refused; any other is a finding
   */
  readonly run: (input: Uint8Array) => string;
  /** Whether an error is the reader's own, documented way to refuse. */
  readonly isRefusal: (error: unknown) => boolean;
}
