/** Removes what the recipe's prune list names; `*` stands for anything but a slash. */
import { glob, rm } from "node:fs/promises";
import { join } from "node:path";

export async function pruneTree(root: string, patterns: readonly string[]): Promise<void> {
  for (const pattern of patterns) {
    for await (const path of glob(pattern.replace(/\/$/, ""), { cwd: root })) await rm(join(root, path), { recursive: true, force: true });
  }
}
