import { readdir, readFile } from "node:fs/promises";

const TICKS_PER_SECOND = 100;

export interface CpuTimes {
  /** Seconds of user and system time of the deployment's own processes on the host. */
  readonly services: number;
  /** Seconds of QEMU: firmware, kernel, Docker and our guest software together. */
  readonly qemu: number;
}

/** CPU time so far of every process whose command line names the folder. */
export async function cpuTimes(folder: string): Promise<CpuTimes> {
  let services = 0;
  let qemu = 0;
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const line = (await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
    if (!line.includes(`${folder}/`)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, "utf8").catch(() => "");
    // Fields 14 and 15 of proc(5), counted behind the parenthesised name.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const seconds = (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND;
    if (line.includes("qemu-system")) qemu += seconds;
    else services += seconds;
  }
  return { services, qemu };
}
