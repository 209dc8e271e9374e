import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import { LOCK_EX, LOCK_NB } from "./constants.ts";
import { SystemCallError } from "./errors.ts";
import type { Libc } from "./libc.ts";

/**
 * Takes the exclusive lock of an open file, flock(2), without waiting: `held` where another open
 * file has it, be it of this process. The kernel frees it when the descriptor is closed, which the
 * end of the process does too, however it ended.
 * @throws SystemCallError
 */
export type Flock = (fd: number) => "taken" | "held";

export function flockOf(libc: Libc): Flock {
  return (fd) => {
    if (libc.functions.flock(fd, LOCK_EX | LOCK_NB) === 0) return "taken";
    const errno = libc.errno();
    if (errno === constants.errno.EWOULDBLOCK) return "held";
    const name = getSystemErrorName(-errno);
    throw new SystemCallError("system-call-failed", `flock(2) failed with ${name}`, {
      facts: { call: "flock", errno: name },
    });
  };
}
