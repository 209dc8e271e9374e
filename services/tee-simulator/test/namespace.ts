import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";

/** `skip` option: these tests mount things, inside a mount namespace of their own. */
export const skip: string | false =
  process.getuid?.() !== 0
    ? "needs root"
    : !existsSync("/dev/fuse")
      ? "needs /dev/fuse"
      : spawnSync("unshare", ["-m", "true"]).status !== 0
        ? "needs mount namespaces"
        : false;

/** A Node process in a mount namespace of its own; its mounts are seen through /proc/PID/root. */
export function inNamespace(args: readonly string[]): ChildProcess {
  return spawn("unshare", ["-m", "--propagation", "private", process.execPath, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}
