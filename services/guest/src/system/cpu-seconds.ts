import { readdir, readFile } from "node:fs/promises";

const TICKS_PER_SECOND = 100;

export interface CpuSeconds {
  /** User and system time of this guest's own software: every Node process. */
  readonly own_cpu_s: number;
  /** All work that the machine's CPUs did since power-on, kernel included. */
  readonly all_cpu_s: number;
}

/** CPU time since power-on, from proc(5); benchmarks read it off the console. */
export async function cpuSeconds(proc = "/proc"): Promise<CpuSeconds> {
  const [, user, nice, system, , , irq, softirq] = ((await readFile(`${proc}/stat`, "utf8")).split("\n")[0] ?? "")
    .split(/\s+/)
    .map(Number);
  let own = 0;
  for (const entry of await readdir(proc)) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await readFile(`${proc}/${entry}/stat`, "utf8").catch(() => ""); // It may have ended since.
    const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
    // Node names its first thread, and so its process, MainThread or node-MainThread.
    if (name !== "node" && !name.endsWith("MainThread")) continue;
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    own += Number(fields[11]) + Number(fields[12]);
  }
  const all = (user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0);
  return { own_cpu_s: own / TICKS_PER_SECOND, all_cpu_s: all / TICKS_PER_SECOND };
}
