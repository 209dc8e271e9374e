import { constants } from "node:fs";
import { access, mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@dstack/log";
import { ProcessError } from "@dstack/process";
import { GuestError } from "../errors.ts";
import { diskContent, LUKS_DATA_OFFSET, validateLuksHeader } from "./luks-header.ts";
import type { RunProgram } from "../system/run-program.ts";

export const MAPPER_NAME = "dstack_data_disk";
const MAPPER = `/dev/mapper/${MAPPER_NAME}`;
const HEADER_FOLDER = "/tmp/dstack-luks-header";
const PROBE_BYTES = 1024 * 1024;

export interface DataDiskOptions {
  readonly device: string;
  readonly mountPoint: string;
  /** 32 bytes; the passphrase is their lower-case hex. */
  readonly key: Uint8Array;
  readonly run: RunProgram;
  readonly log: Logger;
  /** Where a RAM file system for the header is mounted; for tests. */
  readonly headerFolder?: string;
  /** Told which way it goes, before the long part. */
  readonly onProgress: (what: "initializing data disk" | "mounting data disk") => void;
}

/**
 * Opens the encrypted data disk and mounts it, making it first where the disk is blank.
 *
 * A disk is made in two phases: everything is written under a header that exists in RAM only, and
 * the header goes to the disk last, so a boot killed in between leaves a disk that still counts
 * as blank. An existing header is copied to RAM, checked there and used from there.
 * @throws GuestError `disk-invalid`, `disk-key-wrong`
 */
export async function openDataDisk(options: DataDiskOptions): Promise<{ readonly initialized: boolean }> {
  const { device, run, headerFolder = HEADER_FOLDER } = options;
  const start = await readStart(device, PROBE_BYTES);
  const content = diskContent(start);
  if (content === "damaged-luks")
    throw new GuestError(
      "disk-invalid",
      `data disk ${device}: its first LUKS header copy is gone, its second is there; restore the header from a backup of the disk, or give the VM a new disk`,
    );
  if (content === "other")
    throw new GuestError(
      "disk-invalid",
      `data disk ${device} holds something that is not ours; give the VM a blank disk`,
    );
  await run("mount", [
    "-t",
    "tmpfs",
    "-o",
    "size=64M,mode=0700,nosuid,nodev,noexec",
    "tmpfs",
    await folder(headerFolder),
  ]);
  const header = join(headerFolder, "luks-header");
  try {
    if (content === "blank") await makeDisk(options, header);
    else await openDisk(options, header, start);
  } finally {
    await rm(header, { force: true });
    await run("umount", [headerFolder]);
  }
  return { initialized: content === "blank" };
}

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
    if (found !== undefined && (await exists(found))) return found;
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
  if (!(await exists("/dev/vdb")))
    throw new GuestError("disk-invalid", "there is no data disk: no partition labelled dstack-data and no /dev/vdb");
  return "/dev/vdb";
}

/** Unmounts the disk and forgets its key. */
export async function closeDataDisk(mountPoint: string, run: RunProgram): Promise<void> {
  await run("umount", ["-R", mountPoint], { okCodes: [0, 1, 32] });
  await run("cryptsetup", ["close", MAPPER_NAME], { okCodes: [0, 4] });
}

async function makeDisk(options: DataDiskOptions, header: string): Promise<void> {
  const { device, run } = options;
  options.onProgress("initializing data disk");
  const format = [
    "luksFormat",
    "--batch-mode",
    "--type",
    "luks2",
    "--offset",
    String(LUKS_DATA_OFFSET / 512),
    "--cipher",
    "aes-xts-plain64",
    "--key-size",
    "512",
    "--hash",
    "sha256",
    "--sector-size",
    "512",
    "--pbkdf",
    "pbkdf2",
    "--pbkdf-force-iterations",
    "1000",
    "--header",
    header,
    "--key-file",
    "-",
    device,
  ];
  await run("cryptsetup", format, { input: passphrase(options.key), timeoutMs: 120_000 });
  // Derived keys of 256 bits need no stretching; the count is the least that LUKS2 takes.
  validateLuksHeader(await readStart(header, LUKS_DATA_OFFSET));
  await openMapper(options, header);
  await run("mkfs.ext4", ["-F", "-q", MAPPER], { timeoutMs: 600_000 });
  await run("sync", [], { timeoutMs: 600_000 });
  await commitHeader(header, device);
  await mountDisk(options);
}

async function openDisk(options: DataDiskOptions, header: string, start: Uint8Array): Promise<void> {
  options.onProgress("mounting data disk");
  const usedBytes = validateLuksHeader(start);
  // Read again only where the key slot lies further in; what decides was checked in these very bytes.
  const area = usedBytes <= start.length ? start : await readStart(options.device, usedBytes);
  if (area !== start) validateLuksHeader(area);
  const copy = await open(header, "wx", 0o600);
  try {
    await copy.writeFile(area.subarray(0, usedBytes));
    await copy.truncate(LUKS_DATA_OFFSET);
  } finally {
    await copy.close();
  }
  await openMapper(options, header);
  await checkFileSystem(options);
  await mountDisk(options);
}

async function openMapper({ device, key, run }: DataDiskOptions, header: string): Promise<void> {
  try {
    await run(
      "cryptsetup",
      ["luksOpen", "--type", "luks2", "--header", header, "--key-file", "-", device, MAPPER_NAME],
      { input: passphrase(key), timeoutMs: 120_000 },
    );
  } catch (cause) {
    if (cause instanceof ProcessError && cause.exitCode === 2) {
      throw new GuestError(
        "disk-key-wrong",
        `data disk ${device} was made with another key: this app or instance is not the one that made it, or its keys come from another KMS`,
        { cause },
      );
    }
    throw new GuestError("disk-invalid", `data disk ${device} cannot be opened`, { cause });
  }
  for (let attempt = 0; !(await exists(MAPPER)); attempt++) {
    if (attempt === 50) throw new GuestError("disk-invalid", `${MAPPER} did not appear within 5 s`);
    await sleep(100);
  }
}

async function checkFileSystem({ device, run }: DataDiskOptions): Promise<void> {
  try {
    await run("e2fsck", ["-f", "-p", MAPPER], { okCodes: [0, 1], timeoutMs: 600_000 });
  } catch (cause) {
    const status = cause instanceof ProcessError ? cause.exitCode : undefined;
    throw new GuestError("disk-invalid", `e2fsck exited with status ${status ?? "none"} while checking ${device}`, {
      cause,
    });
  }
  await run("resize2fs", [MAPPER], { timeoutMs: 600_000 });
}

async function mountDisk({ mountPoint, run }: DataDiskOptions): Promise<void> {
  await run("mount", ["-t", "ext4", "-o", "noatime", MAPPER, await folder(mountPoint)]);
}

/**
 * Writes the header area: key slots first, both header copies in one write last. Until that write
 * the disk begins with zeros and counts as blank.
 */
async function commitHeader(header: string, device: string): Promise<void> {
  const area = await readStart(header, LUKS_DATA_OFFSET);
  const copies = 32_768;
  const disk = await open(device, "r+");
  try {
    await disk.write(area, copies, area.length - copies, copies);
    await disk.sync();
    await disk.write(area, 0, copies, 0);
    await disk.sync();
  } finally {
    await disk.close();
  }
}

async function readStart(path: string, length: number): Promise<Uint8Array> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new GuestError("disk-invalid", `${path} cannot be read`, { cause });
  }
  try {
    const bytes = new Uint8Array(length);
    let offset = 0;
    while (offset < length) {
      const { bytesRead } = await file.read(bytes, offset, length - offset, offset);
      if (bytesRead === 0) break;
      offset += bytesRead;
    }
    return bytes.subarray(0, offset);
  } finally {
    await file.close();
  }
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

const passphrase = (key: Uint8Array): string => Buffer.from(key).toString("hex");

async function folder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  return path;
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
