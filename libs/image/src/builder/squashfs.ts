/** The read-only root: squashfs, same bytes for the same tree on every host. */
import type { Tools } from "./tools.ts";

/** Packs `root` into `file`, everything owned by root, every time stamp zero. Its length is a multiple of 4096. */
export async function makeSquashfs(
  tools: Tools,
  root: string,
  file: string,
  onProgress: (percent: number) => void,
): Promise<void> {
  const args = [
    root,
    file,
    "-noappend",
    "-all-root",
    "-no-xattrs",
    "-mkfs-time",
    "0",
    "-all-time",
    "0",
    "-b",
    "131072",
    "-comp",
    "lz4",
    "-Xhc",
    "-percentage",
    "-quiet",
  ];
  await tools.run("mksquashfs", args, {
    timeoutMs: 20 * 60_000,
    onOutput: (text) => {
      const percent = Number(text.trim().split(/\s+/).at(-1));
      if (Number.isInteger(percent)) onProgress(percent);
    },
  });
}
