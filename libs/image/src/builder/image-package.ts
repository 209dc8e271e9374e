import { join } from "node:path";
import { ImageError } from "../errors.ts";
import { openApt } from "./apt.ts";
import { findMirror } from "./apt-mirror.ts";
import { takeBuildLock } from "./build-lock.ts";
import { debPath, fetchPackages } from "./fetch-packages.ts";
import { readRecipe } from "./recipe.ts";

/**
 * Path of the .deb of a program that the guest image has, in the very version that it has; fetched
 * where no image was built yet.
 * @throws ImageError `bad-lock` where the image has no such package, and whatever fetching throws
 */
export async function imagePackage(options: { repoRoot: string; cacheDir: string; name: string }): Promise<string> {
  const { repoRoot, cacheDir, name } = options;
  const recipe = await readRecipe(repoRoot);
  const unlock = await takeBuildLock(cacheDir, () => undefined);
  try {
    const { pins } = await fetchPackages({
      cacheDir,
      recipe,
      updateLock: false,
      apt: async () =>
        openApt(
          join(cacheDir, "apt"),
          await findMirror("/etc/apt", process.env["DSTACK_DEBIAN_MIRROR"]),
          recipe.packages.suites,
        ),
      onProgress: () => undefined,
    });
    const pin = pins.find((candidate) => candidate.group === "rootfs" && candidate.name === name);
    if (pin === undefined) throw new ImageError("bad-lock", `the guest image has no package ${name}`);
    return debPath(cacheDir, pin);
  } finally {
    await unlock();
  }
}
