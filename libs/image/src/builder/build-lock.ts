/** One builder at a time per cache folder. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isCoded } from "@dstack/errors";
import { lockFileWhenFree } from "@dstack/files";
import { ImageError } from "../errors.ts";

/** Waits for the lock; `onWait` is called when somebody else holds it. Gives the function that frees it. */
export async function takeBuildLock(
  cacheDir: string,
  onWait: () => void,
  timeoutMs = 30 * 60_000,
): Promise<() => Promise<void>> {
  await mkdir(cacheDir, { recursive: true });
  const file = join(cacheDir, "build.lock");
  try {
    const lock = await lockFileWhenFree(file, { timeoutMs, pauseMs: 200, onWait });
    return () => lock.release();
  } catch (cause) {
    if (!isCoded(cause, "locked")) throw cause;
    throw new ImageError(
      "build-failed",
      `another image build has held ${file} for ${Math.round(timeoutMs / 60_000)} minutes; end it, then run again`,
      { cause },
    );
  }
}
