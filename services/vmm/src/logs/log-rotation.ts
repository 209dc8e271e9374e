import { copyFile, open, rename, rm, stat } from "node:fs/promises";
import { ignoreMissing } from "@dstack/errors";

export interface RotationLimits {
  /** 0 never rotates. */
  readonly maxBytes: number;
  /** 0 discards instead of keeping. */
  readonly maxBackups: number;
}

/**
 * Moves a log's content to `<file>.1` and cuts the file in place, since its writer appends to it
 * and must not lose it. An empty or missing log stays as it is.
 */
export async function rotateLog(path: string, limits: RotationLimits, now: Date): Promise<void> {
  const size = (await stat(path).catch(() => undefined))?.size ?? 0;
  if (size === 0) return;
  if (limits.maxBackups === 0) {
    await cut(path, `discarded ${size} bytes @ ${at(now)}`);
    return;
  }
  await rm(`${path}.${limits.maxBackups}`, { force: true });
  for (let index = limits.maxBackups - 1; index >= 1; index--) {
    await rename(`${path}.${index}`, `${path}.${index + 1}`).catch(ignoreMissing);
  }
  await copyFile(path, `${path}.1`);
  await cut(path, `rotated ${size} bytes to ${path.slice(path.lastIndexOf("/") + 1)}.1 @ ${at(now)}`);
}

/** Writes the line that parts one boot from the next into a log that is there. */
export async function markBoot(path: string, now: Date): Promise<void> {
  if ((await stat(path).catch(() => undefined)) !== undefined) await append(path, note(`boot @ ${at(now)}`));
}

async function cut(path: string, text: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.truncate(0);
  } finally {
    await file.close();
  }
  await append(path, note(text));
}

async function append(path: string, text: string): Promise<void> {
  const file = await open(path, "a");
  try {
    await file.write(text);
  } finally {
    await file.close();
  }
}

const note = (text: string): string => `\n===== ${text} =====\n\n`;
const at = (now: Date): string => now.toISOString().replace(/\.\d+Z$/, "Z");
