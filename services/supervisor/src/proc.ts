import { readFileSync } from "node:fs";

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
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined; // No such process.
  }
  // The second field, the command, may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state] = fields;
  const startTicks = fields[19];
  if (startTicks === undefined || state === "Z" || state === "X") return undefined;
  return { bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(), pid, startTicks };
}

/** Whether exactly that process still lives. */
export function lives(identity: ProcessIdentity): boolean {
  const now = identityOf(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
}
