import { constants } from "node:fs";
import { mkdir, open, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { APP_COMPOSE_MAX_BYTES, ENCRYPTED_ENV_MAX_BYTES } from "@dstack/compose";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { GuestError } from "../errors.ts";
import type { RunProgram } from "../system/run-program.ts";

/** What a guest takes from its host, and how much of it at most. */
const SHARED_FILES = [
  { name: "app-compose.json", required: true, maxBytes: APP_COMPOSE_MAX_BYTES, mode: 0o644 },
  { name: ".sys-config.json", required: true, maxBytes: 32_768, mode: 0o644 },
  { name: ".instance_info", required: false, maxBytes: 10_240, mode: 0o600 },
  { name: ".encrypted-env", required: false, maxBytes: ENCRYPTED_ENV_MAX_BYTES, mode: 0o600 },
  // Apps bind-mount it into containers that run as any user.
  { name: ".user-config", required: false, maxBytes: 52_428_800, mode: 0o644 },
] as const;

export type SharedFileName = (typeof SHARED_FILES)[number]["name"];
export type HostShare = ReadonlyMap<SharedFileName, Uint8Array>;

/**
 * Copies the known files out of the host's folder and gives what was copied. The host can change
 * its folder at any moment, so each file is opened once, never through a link, and only the copy
 * is ever looked at again (audit row 02).
 * @throws GuestError `host-share-invalid`
 */
export async function copyHostShare(source: string, destination: string): Promise<HostShare> {
  await mkdir(destination, { recursive: true, mode: 0o755 });
  const copied = new Map<SharedFileName, Uint8Array>();
  for (const { name, required, maxBytes, mode } of SHARED_FILES) {
    const bytes = await readSharedFile(join(source, name), name, maxBytes);
    if (bytes === undefined) {
      if (required) throw new GuestError("host-share-invalid", `Source file ${name} does not exist`);
      continue;
    }
    await writeFile(join(destination, name), bytes, { mode, flag: "wx" });
    copied.set(name, bytes);
  }
  return copied;
}

/**
 * Mounts the host's folder read-only: a disk labelled DSTACKSHR where there is one, else the 9p
 * share. The caller unmounts it after copying.
 * @throws GuestError `host-share-invalid` with both reasons
 */
export async function mountHostShare(target: string, run: RunProgram, log: Logger): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o700 });
  let diskProblem = "no disk is labelled DSTACKSHR";
  const disk = await findLabelledDisk(run);
  if (disk !== undefined) {
    try {
      await run("mount", ["-o", "ro,nosuid,nodev,noexec", disk, target]);
      return;
    } catch (error) {
      diskProblem = errorChain(error);
      log.warn({ disk, error: diskProblem }, "the disk labelled DSTACKSHR does not mount; trying 9p");
    }
  }
  try {
    await run("mount", [
      "-t",
      "9p",
      "-o",
      "trans=virtio,version=9p2000.L,ro,nosuid,nodev,noexec",
      "host-shared",
      target,
    ]);
  } catch (cause) {
    throw new GuestError("host-share-invalid", `the host share cannot be mounted (${diskProblem})`, { cause });
  }
}

async function readSharedFile(path: string, name: string, maxBytes: number): Promise<Uint8Array | undefined> {
  let file;
  try {
    // Non-blocking: a FIFO in the host's folder must not hold the boot.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw new GuestError("host-share-invalid", `Source file ${name} is a symbolic link`);
    throw new GuestError("host-share-invalid", `Source file ${name} cannot be opened`, { cause: error });
  }
  try {
    if (!(await file.stat()).isFile())
      throw new GuestError("host-share-invalid", `Source file ${name} is not a regular file`);
    return await readAtMost(file, maxBytes, name);
  } finally {
    await file.close();
  }
}

/** Reads by what comes, not by the size that the host claims. */
async function readAtMost(
  file: { read(buffer: Buffer): Promise<{ bytesRead: number }> },
  maxBytes: number,
  name: string,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const buffer = Buffer.allocUnsafe(Math.min(65_536, maxBytes + 1 - length));
    const { bytesRead } = await file.read(buffer);
    if (bytesRead === 0) return new Uint8Array(Buffer.concat(chunks));
    length += bytesRead;
    if (length > maxBytes)
      throw new GuestError("host-share-invalid", `Source file ${name} is too large, max size is ${maxBytes} bytes`);
    chunks.push(buffer.subarray(0, bytesRead));
  }
}

/** Without udev there is no /dev/disk/by-label: FAT's label is read off each disk. */
async function findLabelledDisk(run: RunProgram): Promise<string | undefined> {
  for (const disk of (await readdir("/sys/class/block").catch(() => [])).toSorted()) {
    if (!/^(?:vd|sd)[a-z]+\d*$/.test(disk)) continue;
    const label = await fatLabel(`/dev/${disk}`);
    if (label === "DSTACKSHR") {
      await run("modprobe", ["-aq", "vfat", "nls_ascii", "nls_iso8859-1"], { okCodes: [0, 1] });
      return `/dev/${disk}`;
    }
  }
  return undefined;
}

/** Label in the boot sector of FAT12, FAT16 (offset 43) or FAT32 (offset 71). */
async function fatLabel(device: string): Promise<string | undefined> {
  const file = await open(device, "r").catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const sector = Buffer.alloc(512);
    await file.read(sector, 0, 512, 0);
    if (sector.readUInt16LE(510) !== 0xaa55) return undefined;
    if (sector.toString("latin1", 54, 57) === "FAT") return sector.toString("latin1", 43, 54).trim();
    if (sector.toString("latin1", 82, 87) === "FAT32") return sector.toString("latin1", 71, 82).trim();
    return undefined;
  } finally {
    await file.close();
  }
}
