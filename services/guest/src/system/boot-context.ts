/**
 * system/ is the machine as the guest finds it: its paths, its programs, its clock, its swap and its packet filter.
 * In: files of the measured root file system and of the kernel; nothing that the host wrote.
 * Out: values read from them, and programs that were run.
 * Never: a decision about the app or a word to the host. What each step of a boot is given is defined here, because
 * every other room takes it.
 */
import type { Logger } from "@dstack/log";
import type { GuestPaths } from "./paths.ts";
import type { RunProgram } from "./run-program.ts";

/** Undoes one thing that the boot did. */
export type Undo = () => Promise<unknown>;

/** What every step of a boot works with. */
export interface BootContext {
  readonly paths: GuestPaths;
  readonly run: RunProgram;
  readonly log: Logger;
  /** Unix seconds. */
  readonly now: () => number;
  /** Notes in the log how far the boot has come. */
  readonly step: (phase: string) => void;
  /** Notes it, and tells the host. */
  readonly progress: (phase: string) => void;
  /** What shall be undone at shutdown; the newest comes first. */
  readonly onShutdown: (undo: Undo) => void;
}
