import { z } from "zod";

const text = z.string().max(1024 * 1024);

/** What to run. Unknown members are ignored, since VMMs of other versions may send more. */
export const processConfigSchema = z.object({
  id: text,
  name: text.default(""),
  command: text,
  args: z.array(text).max(4096).default([]),
  /** Added to the supervisor's own environment. */
  env: z.record(z.string(), text).default({}),
  /** "" inherits. */
  cwd: text.default(""),
  /** Files that output is appended to; "" is /dev/null. */
  stdout: text.default(""),
  stderr: text.default(""),
  /** "" is none. */
  pidfile: text.default(""),
  cid: z.number().int().min(0).max(0xffff_ffff).nullable().default(null),
  note: text.default(""),
});

export type ProcessConfig = z.output<typeof processConfigSchema>;

/** `exited` carries the raw wait status: exit code 1 is 256, signal 9 is 9. */
export type ProcessStatus = "running" | "stopped" | { readonly exited: number } | { readonly error: string };

export interface ProcessState {
  readonly status: ProcessStatus;
  /** Whether it is meant to run: false only after an explicit stop. */
  readonly started: boolean;
  readonly pid: number | null;
  /** Unix seconds. */
  readonly started_at: number | null;
  readonly stopped_at: number | null;
}

export interface ProcessInfo {
  readonly config: ProcessConfig;
  readonly state: ProcessState;
}
