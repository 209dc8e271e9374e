import { readFileSync } from "node:fs";

/** How many files and sockets this process may have open; without a bound where the system tells none. */
export function mayOpenFiles(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readLimits())?.[1];
  return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
}

function readLimits(): string {
  try {
    return readFileSync("/proc/self/limits", "utf8");
  } catch {
    // Not on Linux.
    return "";
  }
}
