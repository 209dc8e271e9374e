/**
 * One builder at a time per cache folder. The lock is the kernel's (flock(2), held by a
 * child that ends when our end of its pipe closes), so it vanishes with us however we end.
 */
import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { ImageError } from "../errors.ts";

/** Waits for the lock; `onWait` is called when somebody else holds it. Gives the function that frees it. */
export async function takeBuildLock(
  cacheDir: string,
  onWait: () => void,
  timeoutMs = 30 * 60_000,
): Promise<() => Promise<void>> {
  await mkdir(cacheDir, { recursive: true });
  const file = join(cacheDir, "build.lock");
  const immediate = await tryFlock(["-n", file]);
  if (immediate !== undefined) return immediate;
  onWait();
  const waited = await tryFlock(["-w", String(Math.ceil(timeoutMs / 1000)), file]);
  if (waited === undefined)
    throw new ImageError(
      "build-failed",
      `another image build has held ${file} for ${Math.round(timeoutMs / 60_000)} minutes; end it, then run again`,
    );
  return waited;
}

function tryFlock(args: readonly string[]): Promise<(() => Promise<void>) | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn("flock", [...args, "sh", "-c", "echo locked; exec cat >/dev/null"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    const ended = new Promise<void>((done) => child.once("close", () => done()));
    child.once("error", (cause) =>
      reject(new ImageError("build-failed", "flock is missing: install the package util-linux", { cause })),
    );
    child.stdout.once("data", () => {
      resolve(async () => {
        child.stdin.end();
        await ended;
      });
    });
    child.once("close", () => resolve(undefined));
  });
}
