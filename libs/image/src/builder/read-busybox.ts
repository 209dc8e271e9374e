/** Debian's static busybox from the pinned packages: the one program of the demo's container image. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ImageError } from "../errors.ts";
import { openApt } from "./apt.ts";
import { findMirror } from "./apt-mirror.ts";
import { takeBuildLock } from "./build-lock.ts";
import { fetchPackages } from "./fetch-packages.ts";
import { readRecipe } from "./recipe.ts";
import { unpackOnce } from "./tools.ts";

/** Takes it from the build cache, or downloads that one package. `cacheDir` as for `buildImage`. */
export async function readBusybox(options: {
  repoRoot: string;
  cacheDir: string;
  mirror?: string;
  onProgress?: (text: string) => void;
}): Promise<Uint8Array> {
  const { cacheDir } = options;
  const onProgress = options.onProgress ?? (() => undefined);
  const recipe = await readRecipe(options.repoRoot);
  const pin = recipe.pins?.find(({ group, name }) => group === "rootfs" && name === "busybox-static");
  if (pin === undefined) throw new ImageError("bad-lock", "image/packages.lock has no busybox-static in group rootfs");
  const unlock = await takeBuildLock(cacheDir, () => onProgress("another image build is running; waiting for it"));
  try {
    const { pins } = await fetchPackages({
      cacheDir,
      recipe: { ...recipe, pins: [pin] },
      updateLock: false,
      apt: async () =>
        openApt(
          join(cacheDir, "apt"),
          await findMirror("/etc/apt", options.mirror ?? process.env["DSTACK_DEBIAN_MIRROR"]),
          recipe.packages.suites,
        ),
      onProgress,
    });
    const used = pins.find(({ group, name }) => group === "rootfs" && name === "busybox-static") ?? pin;
    const root = join(cacheDir, "unpacked", `busybox-${used.sha256.slice(0, 16)}`);
    await unpackOnce(cacheDir, [used], root);
    return await readFile(join(root, "usr/bin/busybox"));
  } finally {
    await unlock();
  }
}
