import { readFile, statfs } from "node:fs/promises";
import { availableParallelism, cpus, release } from "node:os";
import type { DiskInfo, SystemInfo } from "@dstack/agent";
import type { ImageInfo } from "../system/image-info.ts";

/** What `SysInfo` answers, read off /proc. */
export async function readSystemInfo(image: ImageInfo, dataDisks: readonly string[]): Promise<SystemInfo> {
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
    osName: image.osName,
    osVersion: image.osVersion ?? "",
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
    disks: await readDisks(mounts ?? "", dataDisks),
  };
}

async function readDisks(mounts: string, wanted: readonly string[]): Promise<readonly DiskInfo[]> {
  const disks: DiskInfo[] = [];
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
