import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isCoded } from "@dstack/errors";
import { lockFile } from "@dstack/files";
import type { StackLayout } from "../../local/layout.ts";
import { CliError } from "../../terminal/errors.ts";

/**
 * Does work on an app that nobody else of this user may do at the same time: deploy it, roll it back, change its
 * environment.
 * @throws CliError naming the process that is at it
 */
export async function withAppLock<T>(layout: StackLayout, name: string, work: () => Promise<T>): Promise<T> {
  const folder = join(layout.state, "apps");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // Names may hold what file names may not.
  const path = join(folder, `${createHash("sha256").update(name).digest("hex").slice(0, 32)}.lock`);
  let lock;
  try {
    lock = await lockFile(path);
  } catch (cause) {
    if (!isCoded(cause, "locked")) throw cause;
    const pid = String(cause.facts["pid"]);
    throw new CliError("failed", `${name} is being deployed or changed by process ${pid}`, {
      hint: `nothing was done; wait for it, or see what it is: ps -fp ${pid}`,
    });
  }
  try {
    return await work();
  } finally {
    await lock.release();
  }
}
