/** Removes what the recipe's prune list names; `*` stands for anything but a slash. */
import { glob, realpath, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ImageError } from "../errors.ts";

/** @throws ImageError `bad-recipe` for a pattern that a link leads out of `root` */
export async function pruneTree(root: string, patterns: readonly string[]): Promise<void> {
  const inside = await realpath(root);
  for (const pattern of patterns) {
    for await (const path of glob(pattern.replace(/\/$/, ""), { cwd: root })) {
      const parent = await realpath(dirname(join(root, path)));
      if (parent !== inside && !parent.startsWith(`${inside}/`))
        throw new ImageError(
          "bad-recipe",
          `image/prune.txt: ${pattern} leads out of the root file system, to ${parent}`,
        );
      await rm(join(root, path), { recursive: true, force: true });
    }
  }
}
