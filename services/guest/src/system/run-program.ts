import { run } from "@dstack/process";

/** Runs a program of the guest's image; tests put their own in its place. */
export type RunProgram = typeof run;
