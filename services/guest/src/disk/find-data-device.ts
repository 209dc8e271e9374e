import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@dstack/log";
import { GuestError } from "../errors.ts";

/**
 * The disk to use: the one on the kernel command line, the partition labelled dstack-data, else
 * the second virtio disk.
 * @throws GuestError `disk-invalid` when there is none
 */
export async function findDataDevice(
  override: string | undefined,
  log: Logger,
  classBlock = "/sys/class/block",
): Promise<string> {
  const partitions = await listPartitions(classBlock);
  if (override !== undefined) {
    const found = resolveOverride(override, partitions);
    if (found !== undefined && existsSync(found)) return found;
    log.warn({ option: override }, "dstack.data_device on the kernel command line names nothing that is there");
  }
  const labelled = partitions.find((partition) => partition.label === "dstack-data");
  if (labelled !== undefined) return labelled.device;
  if (partitions.some((partition) => partition.device.startsWith("/dev/vdb"))) {
    throw new GuestError(
      "disk-invalid",
      "data disk /dev/vdb has partitions and none is labelled dstack-data; give the VM a blank disk",
    );
  }
  if (!existsSync("/dev/vdb"))
    throw new GuestError("disk-invalid", "there is no data disk: no partition labelled dstack-data and no /dev/vdb");
  return "/dev/vdb";
}

interface Partition {
  readonly device: string;
  readonly label: string | undefined;
  readonly uuid: string | undefined;
}

async function listPartitions(classBlock: string): Promise<readonly Partition[]> {
  const found: Partition[] = [];
  for (const name of (await readdir(classBlock).catch(() => [])).toSorted()) {
    const uevent = await readFile(join(classBlock, name, "uevent"), "utf8").catch(() => "");
    if (!/^DEVTYPE=partition$/m.test(uevent)) continue;
    const value = (key: string): string | undefined => new RegExp(`^${key}=(.*)$`, "m").exec(uevent)?.[1];
    found.push({ device: `/dev/${name}`, label: value("PARTNAME"), uuid: value("PARTUUID") });
  }
  return found;
}

function resolveOverride(override: string, partitions: readonly Partition[]): string | undefined {
  if (override.startsWith("PARTLABEL="))
    return partitions.find((partition) => partition.label === override.slice(10))?.device;
  if (override.startsWith("PARTUUID="))
    return partitions.find((partition) => partition.uuid?.toLowerCase() === override.slice(9).toLowerCase())?.device;
  return /^\/dev\/[\w/-]+$/.test(override) ? override : undefined;
}
