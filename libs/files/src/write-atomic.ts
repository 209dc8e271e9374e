import { randomBytes } from "node:crypto";
import { open, rename, unlink } from "node:fs/promises";
import { dirname, join, basename } from "node:path";

export interface WriteOptions {
  /** Permission bits; 0600 unless given. */
  readonly mode?: number;
}

/**
 * Replaces a file as a whole: temporary name in the same folder, flush, rename, flush of the
 * folder. A reader sees the old content or the new, never a part; a full disk leaves the old.
 * @throws the system's error (ENOSPC, EACCES, ...) with the old file untouched
 */
export async function writeFileAtomic(
  path: string,
  data: Uint8Array | string,
  options: WriteOptions = {},
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const file = await open(temporary, "wx", options.mode ?? 0o600);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await removeIfExists(temporary);
    throw error;
  }
  await syncFolder(dirname(path));
}

/** A value as compact JSON with a final newline, replaced atomically. */
export function writeJsonAtomic(path: string, value: unknown, options: WriteOptions = {}): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(value)}\n`, options);
}

/** A secret: atomic, and readable by its owner alone (#606). */
export function writeSecret(path: string, data: Uint8Array | string): Promise<void> {
  return writeFileAtomic(path, data, { mode: 0o600 });
}

export async function removeIfExists(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** Flushes a folder: names that were made, removed or renamed in it are then on the disk. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
