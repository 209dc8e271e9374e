/** Puts folders of ours where the kernel would have its own, on file systems that let nobody make a folder. */
import { mkdir, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { systemCode } from "@dstack/errors";
import { ProcessError, run } from "@dstack/process";
import { SimulatorError } from "./errors.ts";

export interface Placement {
  /** The folder to show. */
  readonly source: string;
  /** Where to show it. */
  readonly target: string;
  /** The highest folder that may be covered to make `target` possible. */
  readonly cover: string;
}

/**
 * Bind-mounts `source` on `target`. Where `target` is missing, its nearest existing ancestor, not above
 * `cover`, gets an overlay that adds the missing folders and keeps everything else reachable, or a
 * tmpfs where overlayfs cannot stand on that file system.
 * @param scratch a folder of our own for the added folders
 * @throws SimulatorError `mount-failed`
 */
export async function place({ source, target, cover }: Placement, scratch: string): Promise<void> {
  if (!(await isFolder(target))) await makePossible(target, cover, scratch);
  await mount(["--bind", source, target]);
}

async function makePossible(target: string, cover: string, scratch: string): Promise<void> {
  let ancestor = dirname(target);
  while (!(await isFolder(ancestor)) && ancestor !== cover && ancestor !== "/") ancestor = dirname(ancestor);
  if (!(await isFolder(ancestor)) || relative(cover, ancestor).startsWith("..")) {
    throw new SimulatorError(
      "mount-failed",
      `${cover} does not exist: cannot show ${target} (is the kernel module that makes it loaded?)`,
    );
  }
  const layer = join(scratch, encodeURIComponent(target));
  await mkdir(join(layer, relative(ancestor, target)), { recursive: true });
  try {
    await mount(["-t", "overlay", "-o", `ro,lowerdir=${layer}:${ancestor}`, "dstack-tee", ancestor]);
  } catch (error) {
    if (!(error instanceof SimulatorError)) throw error;
    await mount(["-t", "tmpfs", "-o", "mode=755", "dstack-tee", ancestor]);
    await mkdir(target, { recursive: true });
  }
}

async function mount(args: readonly string[]): Promise<void> {
  try {
    await run("mount", args, { timeoutMs: 20_000 });
  } catch (cause) {
    if (!(cause instanceof ProcessError)) throw cause;
    throw new SimulatorError("mount-failed", `mount ${args.join(" ")}: ${cause.message}`, { cause });
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return false;
    throw error;
  }
}
