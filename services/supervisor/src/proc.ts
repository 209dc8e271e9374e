import { readFileSync } from "node:fs";
import { processStartTime } from "@dstack/process";

/**
 * What tells one process from a later one with the same id: the boot it lives in, its id, and
 * its start in clock ticks since that boot (field 22 of /proc/PID/stat).
 */
export interface ProcessIdentity {
  readonly bootId: string;
  readonly pid: number;
  readonly startTicks: string;
}

/** The identity of a process that lives now; undefined when it is gone or only waits to be reaped. */
export function identityOf(pid: number): ProcessIdentity | undefined {
  const startTicks = processStartTime(pid);
  if (startTicks === undefined) return undefined;
  return { bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(), pid, startTicks };
}

/** Whether exactly that process still lives. */
export function lives(identity: ProcessIdentity): boolean {
  const now = identityOf(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
}
