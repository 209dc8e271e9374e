import { readFile, statfs } from "node:fs/promises";
import { availableParallelism, cpus, release } from "node:os";
import type { AgentState } from "./agent-state.ts";

export interface SystemInfo {
  readonly osName: string;
  readonly osVersion: string;
  readonly kernelVersion: string;
  readonly cpuModel: string;
  readonly numCpus: number;
  readonly totalMemory: bigint;
  readonly availableMemory: bigint;
  readonly usedMemory: bigint;
  readonly freeMemory: bigint;
  readonly totalSwap: bigint;
  readonly usedSwap: bigint;
  readonly freeSwap: bigint;
  /** Seconds. */
  readonly uptime: bigint;
  /** Times 100, truncated. */
  readonly loadavgOne: number;
  readonly loadavgFive: number;
  readonly loadavgFifteen: number;
  readonly disks: readonly {
    readonly name: string;
    readonly mountPoint: string;
    readonly totalSize: bigint;
    readonly freeSize: bigint;
  }[];
}

/** What `SysInfo` answers, read off /proc. */
export async function readSystemInfo(state: Pick<AgentState, "image" | "dataDisks">): Promise<SystemInfo> {
  const [memory, uptime, load, mounts] = await Promise.all(
    ["/proc/meminfo", "/proc/uptime", "/proc/loadavg", "/proc/mounts"].map((path) =>
      readFile(path, "utf8").catch(() => ""),
    ),
  );
  const bytes = (name: string): bigint =>
    BigInt(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(memory ?? "")?.[1] ?? 0) * 1024n;
  const loads = (load ?? "").split(" ").map((text) => Math.trunc(Number(text) * 100));
  const cpu = cpus()[0];
  return {
    osName: state.image.osName,
    osVersion: state.image.osVersion ?? "",
    kernelVersion: release(),
    cpuModel: cpu === undefined ? "" : `${cpu.model} @${cpu.speed} MHz`,
    numCpus: availableParallelism(),
    totalMemory: bytes("MemTotal"),
    availableMemory: bytes("MemAvailable"),
    usedMemory: bytes("MemTotal") - bytes("MemAvailable"),
    freeMemory: bytes("MemFree"),
    totalSwap: bytes("SwapTotal"),
    usedSwap: bytes("SwapTotal") - bytes("SwapFree"),
    freeSwap: bytes("SwapFree"),
    uptime: BigInt(Math.trunc(Number((uptime ?? "0").split(" ")[0]))),
    loadavgOne: loads[0] ?? 0,
    loadavgFive: loads[1] ?? 0,
    loadavgFifteen: loads[2] ?? 0,
    disks: await readDisks(mounts ?? "", state.dataDisks),
  };
}

async function readDisks(mounts: string, wanted: readonly string[]): Promise<SystemInfo["disks"]> {
  const disks: SystemInfo["disks"][number][] = [];
  for (const mountPoint of wanted.toSorted()) {
    const device = mounts
      .split("\n")
      .findLast((line) => line.split(" ")[1] === mountPoint)
      ?.split(" ")[0];
    if (device === undefined) continue;
    const space = await statfs(mountPoint, { bigint: true }).catch(() => undefined);
    if (space !== undefined)
      disks.push({
        name: device,
        mountPoint,
        totalSize: space.blocks * space.bsize,
        freeSize: space.bavail * space.bsize,
      });
  }
  return disks;
}
