import { link, readFile, unlink, writeFile } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { CodedError } from "@dstack/errors";
import { processStartTime } from "@dstack/process";
import type { FilesErrorCode } from "./errors.ts";

export interface FileLock {
  release(): Promise<void>;
}

/** Somebody who is alive holds the lock. */
export class FileLockedError extends CodedError<FilesErrorCode> {
  readonly pid: number;
  constructor(path: string, pid: number) {
    super("locked", `${path} is held by process ${pid}`, { facts: { pid } });
    this.pid = pid;
  }
}

/**
 * Takes a lock file that names its holder by process id and start time, so that a killed
 * holder's lock, or one whose process id was used again, is taken over.
 * @throws FileLockedError while the holder lives
 */
export async function lockFile(path: string): Promise<FileLock> {
  const own = `${process.pid} ${processStartTime(process.pid) ?? "0"}\n`;
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  await writeFile(temporary, own, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 8; attempt++) {
      try {
        // link() fails when the target exists, and the content is there from the first moment.
        await link(temporary, path);
        return { release: () => release(path, own) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = await readFile(path, "utf8").catch(() => "");
      const [pid, started] = holder.trim().split(" ");
      if (pid !== undefined && pid !== "" && processStartTime(Number(pid)) === started)
        throw new FileLockedError(path, Number(pid));
      await unlink(path).catch(() => undefined);
    }
    throw new FileLockedError(path, 0);
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

async function release(path: string, own: string): Promise<void> {
  if ((await readFile(path, "utf8").catch(() => "")) === own) await unlink(path).catch(() => undefined);
}
