/**
 * Brings every pinned package into the cache, named by its SHA-256. Network is used only
 * for what is missing. A pin that the mirror no longer has is named and resolved again.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { readTextIfExists, writeFileAtomic } from "@dstack/files";
import { ImageError } from "../errors.ts";
import { hasLists, type Apt } from "./apt.ts";
import { hashOf } from "./inputs.ts";
import { describeLockChanges, formatPackageLock, parsePackageLock, type PinnedPackage } from "./package-lock.ts";
import { resolvePackages } from "./resolve-packages.ts";
import type { PackagesIndex } from "./packages-index.ts";
import type { Recipe } from "./recipe.ts";

export interface FetchedPackages {
  /** The pins that were used: the lock's, or its repaired form. */
  readonly pins: readonly PinnedPackage[];
  /** What differs from the lock, for people; empty when the lock was used as it is. */
  readonly changes: readonly string[];
}

/** Path of a package in the cache. */
export function debPath(cacheDir: string, pin: PinnedPackage): string {
  return join(cacheDir, "debs", `${pin.sha256}.deb`);
}

export async function fetchPackages(options: {
  cacheDir: string;
  recipe: Recipe;
  apt: () => Promise<Apt>;
  /** Resolve everything anew instead of using the lock. */
  updateLock: boolean;
  onProgress: (text: string) => void;
}): Promise<FetchedPackages> {
  const { cacheDir, recipe, onProgress } = options;
  await mkdir(join(cacheDir, "debs"), { recursive: true });
  const locked = recipe.pins;
  if (!options.updateLock && locked !== undefined) {
    const missing = await notCached(cacheDir, locked);
    if (missing.length === 0) return { pins: locked, changes: [] };
    const repaired = await readRepair(cacheDir, locked);
    if (repaired !== undefined && (await notCached(cacheDir, repaired)).length === 0)
      return { pins: repaired, changes: describeLockChanges(locked, repaired) };
  }
  const apt = await options.apt();
  const aptDir = join(cacheDir, "apt");
  onProgress((await hasLists(aptDir)) ? "refreshing Debian's package lists" : "fetching Debian's package lists");
  const index = await apt.update();
  const resolved =
    options.updateLock || locked === undefined
      ? await resolvePackages(apt, index, recipe)
      : await repair(locked, index, apt, recipe, cacheDir, onProgress);
  // In the order of the lock file, so that everything derived from the pins is the same next time.
  const pins = resolved === locked ? locked : parsePackageLock(formatPackageLock(resolved));
  await download(apt, cacheDir, await notCached(cacheDir, pins), onProgress);
  if (locked !== undefined && !options.updateLock && pins !== locked)
    await writeFileAtomic(repairPath(cacheDir, locked), formatPackageLock(pins));
  return { pins, changes: locked === undefined ? [] : describeLockChanges(locked, pins) };
}

/**
 * Resolves each group again that lost a pin, and keeps the others: packages of one group
 * depend on each other, so mixing old and new ones would break what apt has checked.
 */
async function repair(
  locked: readonly PinnedPackage[],
  index: PackagesIndex,
  apt: Apt,
  recipe: Recipe,
  cacheDir: string,
  onProgress: (text: string) => void,
): Promise<readonly PinnedPackage[]> {
  const gone: PinnedPackage[] = [];
  for (const pin of await notCached(cacheDir, locked)) {
    if (index.find(pin.name, pin.version)?.sha256 !== pin.sha256) gone.push(pin);
  }
  if (gone.length === 0) return locked;
  for (const pin of gone)
    onProgress(`the mirror no longer has ${pin.name} ${pin.version} (${pin.sha256.slice(0, 12)}…): resolving again`);
  const groups = new Set(gone.map((pin) => pin.group));
  const fresh = await resolvePackages(apt, index, recipe);
  return [...locked.filter((pin) => !groups.has(pin.group)), ...fresh.filter((pin) => groups.has(pin.group))];
}

/** Where the repaired form of a lock is kept, so that the next build needs neither the network nor another answer. */
function repairPath(cacheDir: string, locked: readonly PinnedPackage[]): string {
  return join(cacheDir, `repaired-${hashOf(formatPackageLock(locked)).slice(0, 16)}.lock`);
}

async function readRepair(
  cacheDir: string,
  locked: readonly PinnedPackage[],
): Promise<readonly PinnedPackage[] | undefined> {
  const text = await readTextIfExists(repairPath(cacheDir, locked));
  return text === undefined ? undefined : parsePackageLock(text);
}

async function download(
  apt: Apt,
  cacheDir: string,
  missing: readonly PinnedPackage[],
  onProgress: (text: string) => void,
): Promise<void> {
  if (missing.length === 0) return;
  const megabytes = Math.ceil(missing.reduce((sum, pin) => sum + pin.sizeBytes, 0) / 1e6);
  onProgress(`downloading ${missing.length} Debian packages (${megabytes} MB)`);
  const dir = await mkdtemp(join(cacheDir, "debs", ".download-"));
  try {
    await apt.download([...new Set(missing.map((pin) => `${pin.name}=${pin.version}`))], dir);
    const got = new Map<string, string>();
    for (const name of await readdir(dir)) got.set(await sha256File(join(dir, name)), join(dir, name));
    for (const pin of new Map(missing.map((pin) => [pin.sha256, pin])).values()) {
      const file = got.get(pin.sha256);
      if (file === undefined)
        throw new ImageError(
          "wrong-package",
          `${pin.name} ${pin.version}: no downloaded file has the SHA-256 ${pin.sha256} of image/packages.lock`,
        );
      await rename(file, debPath(cacheDir, pin));
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function notCached(cacheDir: string, pins: readonly PinnedPackage[]): Promise<PinnedPackage[]> {
  const missing: PinnedPackage[] = [];
  for (const pin of pins) {
    const there = await access(debPath(cacheDir, pin)).then(
      () => true,
      () => false,
    );
    if (!there) missing.push(pin);
  }
  return missing;
}

/** Lower-case hex. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
