import { existsSync } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@dstack/log";
import { ProcessError } from "@dstack/process";
import { GuestError } from "../errors.ts";
import type { RunProgram } from "../system/run-program.ts";
import { diskContent, LUKS_DATA_OFFSET, validateLuksHeader } from "./luks-header.ts";
import { commitHeader, readStart } from "./raw-disk.ts";

const MAPPER_NAME = "dstack_data_disk";
const PROBE_BYTES = 1024 * 1024;

/**
 * The one form that `validateLuksHeader` accepts. Derived keys of 256 bits need no stretching: the
 * count of iterations is the least that LUKS2 takes.
 */
const LUKS_FORM =
  `--type luks2 --offset ${LUKS_DATA_OFFSET / 512} --sector-size 512 --cipher aes-xts-plain64 --key-size 512 ` +
  "--hash sha256 --pbkdf pbkdf2 --pbkdf-force-iterations 1000";

export interface DataDiskOptions {
  readonly device: string;
  readonly mountPoint: string;
  /** 32 bytes; the passphrase is their lower-case hex. */
  readonly key: Uint8Array;
  readonly run: RunProgram;
  readonly log: Logger;
  /** Where a RAM file system for the header is mounted. */
  readonly headerFolder: string;
  /** Where the opened disk appears: /dev/mapper. */
  readonly mapperFolder: string;
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
  const start = await readStart(options.device, PROBE_BYTES);
  const initialized = isBlank(options.device, start);
  await withHeaderInRam(options, (header) =>
    initialized ? makeDisk(options, header) : openDisk(options, header, start),
  );
  return { initialized };
}

/** Unmounts the disk and forgets its key. */
export async function closeDataDisk(mountPoint: string, run: RunProgram): Promise<void> {
  await run("umount", ["-R", mountPoint], { okCodes: [0, 1, 32] });
  await run("cryptsetup", ["close", MAPPER_NAME], { okCodes: [0, 4] });
}

/** @throws GuestError `disk-invalid` where the disk is neither blank nor begins with a LUKS header */
function isBlank(device: string, start: Uint8Array): boolean {
  const content = diskContent(start);
  if (content === "damaged-luks")
    throw new GuestError(
      "disk-invalid",
      `data disk ${device}: its first LUKS header copy is gone, its second is there; ` +
        "restore the header from a backup of the disk, or give the VM a new disk",
    );
  if (content === "other")
    throw new GuestError(
      "disk-invalid",
      `data disk ${device} holds something that is not ours; give the VM a blank disk`,
    );
  return content === "blank";
}

/** Gives `work` the path of a header file that no disk ever holds. */
async function withHeaderInRam(
  { run, headerFolder }: DataDiskOptions,
  work: (header: string) => Promise<void>,
): Promise<void> {
  const options = "size=64M,mode=0700,nosuid,nodev,noexec";
  await run("mount", ["-t", "tmpfs", "-o", options, "tmpfs", await folder(headerFolder)]);
  const header = join(headerFolder, "luks-header");
  try {
    await work(header);
  } finally {
    await rm(header, { force: true });
    await run("umount", [headerFolder]);
  }
}

async function makeDisk(options: DataDiskOptions, header: string): Promise<void> {
  const { device, run } = options;
  options.onProgress("initializing data disk");
  const places = ["--header", header, "--key-file", "-", device];
  await run("cryptsetup", ["luksFormat", "--batch-mode", ...LUKS_FORM.split(" "), ...places], {
    input: passphrase(options.key),
    timeoutMs: 120_000,
  });
  validateLuksHeader(await readStart(header, LUKS_DATA_OFFSET));
  await openMapper(options, header);
  await run("mkfs.ext4", ["-F", "-q", mapperOf(options)], { timeoutMs: 600_000 });
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

async function openMapper(options: DataDiskOptions, header: string): Promise<void> {
  const { device, key, run } = options;
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
        `data disk ${device} was made with another key: this app or instance is not the one that made it, ` +
          "or its keys come from another KMS or machine (from the local key provider every version has its own)",
        { cause },
      );
    }
    throw new GuestError("disk-invalid", `data disk ${device} cannot be opened`, { cause });
  }
  const mapper = mapperOf(options);
  for (let attempt = 0; !existsSync(mapper); attempt++) {
    if (attempt === 50) throw new GuestError("disk-invalid", `${mapper} did not appear within 5 s`);
    await sleep(100);
  }
}

async function checkFileSystem(options: DataDiskOptions): Promise<void> {
  const { device, run } = options;
  const mapper = mapperOf(options);
  try {
    await run("e2fsck", ["-f", "-p", mapper], { okCodes: [0, 1], timeoutMs: 600_000 });
  } catch (cause) {
    const status = cause instanceof ProcessError ? cause.exitCode : undefined;
    throw new GuestError("disk-invalid", `e2fsck exited with status ${status ?? "none"} while checking ${device}`, {
      cause,
    });
  }
  await run("resize2fs", [mapper], { timeoutMs: 600_000 });
}

async function mountDisk(options: DataDiskOptions): Promise<void> {
  const mountPoint = await folder(options.mountPoint);
  await options.run("mount", ["-t", "ext4", "-o", "noatime", mapperOf(options), mountPoint]);
}

const mapperOf = ({ mapperFolder }: DataDiskOptions): string => join(mapperFolder, MAPPER_NAME);

const passphrase = (key: Uint8Array): string => Buffer.from(key).toString("hex");

async function folder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  return path;
}
