import { readdir, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { processStartTime } from "@dstack/process";
import { stopProcess } from "../local/managed-process.ts";

/**
 * Carried by everything that a local deployment starts, and by what that starts: the deployment's state folder. A
 * process keeps it whatever it is called and whoever started it, and nothing else has it.
 */
export const DEPLOYMENT_VARIABLE = "DSTACK_DEPLOYMENT";

export interface Stray {
  readonly name: string;
  readonly pid: number;
  /** With the pid it names the process for good. */
  readonly startTime: string;
}

/** Ends the processes of a deployment that no record names: QEMU, the supervisor and whatever lost its record. */
export async function stopStrays(state: string): Promise<readonly string[]> {
  const stopped: string[] = [];
  for (let round = 0; round < 5; round++) {
    const strays = await findStrays(state);
    if (strays.length === 0) break;
    // The supervisor goes first, since it may start others.
    for (const stray of strays.toSorted((a, b) => Number(b.name === "supervisor") - Number(a.name === "supervisor"))) {
      await stopProcess(stray, 5_000);
      stopped.push(stray.name);
    }
  }
  return stopped;
}

/** The processes that carry this deployment's mark, but for this one and its parent. */
export async function findStrays(state: string): Promise<readonly Stray[]> {
  const found: Stray[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid || pid === process.ppid) continue;
    // Gone by now, or another user's: then it is not ours.
    const variables = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    if (!variables.split("\0").includes(`${DEPLOYMENT_VARIABLE}=${state}`)) continue;
    const startTime = processStartTime(pid);
    if (startTime !== undefined) found.push({ name: await nameOf(pid), pid, startTime });
  }
  return found;
}

/** For people: the service, or the program. */
async function nameOf(pid: number): Promise<string> {
  const args = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
  return /services\/([a-z-]+)\/src\//.exec(args.join(" "))?.[1] ?? basename(args[0] ?? "?");
}
