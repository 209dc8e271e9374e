/** Finished images in the images folder: found again by what they were built from, replaced without a moment of half an image. */
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { toHex } from "@dstack/bytes";
import { ImageError } from "../errors.ts";
import { makeMrBundle } from "../make-mr-bundle.ts";
import { readImageDirectory, type ImageDirectory } from "../read-image-directory.ts";

export interface PublishedImage {
  readonly image: ImageDirectory;
  /** Lower hex of os_image_hash. */
  readonly osImageHash: string;
  /** Path of mr_<hash>.tar.gz. */
  readonly mrBundle: string;
}

/** File in each built image that says what it was built from; not part of the image's identity. */
const STAMP = ".inputs";

/** Marks the folder of a finished image with the hash of its inputs. */
export async function stampImage(dir: string, inputsHash: string): Promise<void> {
  await writeFile(join(dir, STAMP), `${inputsHash}\n`);
}

/** The published image of that name, when it was built from these inputs. */
export async function findPublished(
  outDir: string,
  name: string,
  inputsHash: string,
): Promise<PublishedImage | undefined> {
  // A kill between the two renames of `swapIn` leaves the finished image under its other name.
  const ready = readyPath(outDir, name);
  if ((await stampOf(ready)) !== undefined) await swapIn(ready, join(outDir, name));
  if ((await stampOf(join(outDir, name))) !== inputsHash) return undefined;
  return describe(outDir, name);
}

/** Moves a finished image into the images folder in place of an older one of that name, and writes its bundle. */
export async function publishImage(from: string, outDir: string, name: string): Promise<PublishedImage> {
  const incoming = join(outDir, `.incoming-${name}`);
  await rm(incoming, { recursive: true, force: true });
  await moveTree(from, incoming);
  const ready = readyPath(outDir, name);
  await rm(ready, { recursive: true, force: true });
  await rename(incoming, ready);
  await swapIn(ready, join(outDir, name));
  const published = await describe(outDir, name);
  await removeStrayBundles(outDir);
  return published;
}

const readyPath = (outDir: string, name: string): string => join(outDir, `.ready-${name}`);

async function swapIn(ready: string, target: string): Promise<void> {
  const old = join(dirname(target), `.old-${target.slice(dirname(target).length + 1)}`);
  await rm(old, { recursive: true, force: true });
  await rename(target, old).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  await rename(ready, target);
  await rm(old, { recursive: true, force: true });
}

async function moveTree(from: string, to: string): Promise<void> {
  await rename(from, to).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== "EXDEV") throw error;
    await mkdir(to);
    for (const file of await readdir(from)) await copyFile(join(from, file), join(to, file));
  });
}

async function describe(outDir: string, name: string): Promise<PublishedImage> {
  const image = await readImageDirectory(join(outDir, name));
  if (image.osImageHash === undefined)
    throw new ImageError("build-failed", `${image.dir} has no sha256sum.txt; remove the folder, then build again`);
  const osImageHash = toHex(image.osImageHash);
  const bundleName = `mr_${osImageHash}.tar.gz`;
  if (!(await readdir(outDir)).includes(bundleName)) await makeMrBundle(image.dir, outDir);
  return { image, osImageHash, mrBundle: join(outDir, bundleName) };
}

/**
 * A bundle whose image is gone stays for a day, since a running VM may still be verified
 * with it, and then goes: rebuilding must not fill the disk.
 */
async function removeStrayBundles(outDir: string): Promise<void> {
  const present = new Set<string>();
  for (const entry of await readdir(outDir, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const digest = await readFile(join(outDir, entry.name, "digest.txt"), "utf8").catch(() => "");
    present.add(`mr_${digest.trim()}.tar.gz`);
  }
  for (const name of await readdir(outDir)) {
    if (!/^mr_[0-9a-f]{64}\.tar\.gz(?:\.tmp-\d+)?$/.test(name) || present.has(name)) continue;
    const { mtimeMs } = await stat(join(outDir, name));
    if (Date.now() - mtimeMs > 24 * 3600_000) await rm(join(outDir, name), { force: true });
  }
}

async function stampOf(dir: string): Promise<string | undefined> {
  return readFile(join(dir, STAMP), "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );
}
