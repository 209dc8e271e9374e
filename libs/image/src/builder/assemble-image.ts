/** Puts the files of one image together in a scratch folder. */
import { WIRE_VERSION } from "@dstack/proto/wire";
import { copyFile, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CHECKSUM_ORDER, formatChecksumFile, formatDigestFile, osImageHash } from "../checksum-file.ts";
import { ImageError } from "../errors.ts";
import { debPath, sha256File } from "./fetch-packages.ts";
import { layOutGpt } from "./gpt.ts";
import { hashOf } from "./inputs.ts";
import { makeInitramfs } from "./initramfs.ts";
import { kernelCmdline } from "./kernel-cmdline.ts";
import { readModuleTree, type KernelModule } from "./kernel-modules.ts";
import { writeMeasurement } from "./measurement.ts";
import type { PinnedPackage } from "./package-lock.ts";
import type { BuildProgress } from "./progress.ts";
import type { Flavour, Recipe } from "./recipe.ts";
import { makeSquashfs } from "./squashfs.ts";
import { stageRootfs } from "./stage-rootfs.ts";
import { openTools, unpackOnce, type Tools } from "./tools.ts";
import { makeVerityTree } from "./verity.ts";

export const IMAGE_VERSION = WIRE_VERSION;

export interface AssembleOptions {
  readonly repoRoot: string;
  readonly cacheDir: string;
  readonly recipe: Recipe;
  /** All in the cache. */
  readonly pins: readonly PinnedPackage[];
  readonly flavour: Flavour;
  readonly nodeBinary: string;
  /** Bundles by file name under /usr/lib/dstack. */
  readonly bundles: ReadonlyMap<string, Uint8Array>;
  readonly onProgress: (progress: BuildProgress) => void;
}

export interface StagedSystem {
  readonly tools: Tools;
  readonly kernelRoot: string;
  /** In load order. */
  readonly initramfsModules: readonly KernelModule[];
}

/** Unpacks what is needed and fills `rootfs` (which must not exist) with the root file system. */
export async function stageSystem(options: AssembleOptions, rootfs: string): Promise<StagedSystem> {
  const { recipe, pins, cacheDir, onProgress } = options;
  onProgress({ phase: "unpack", text: "unpacking packages" });
  const tools = await openTools(cacheDir, pins);
  const kernelRoot = await unpackGroup(cacheDir, pins, "kernel");
  const modulesRoot = join(kernelRoot, "usr/lib/modules");
  const release = only(await readdir(modulesRoot), modulesRoot);
  const tree = await readModuleTree(join(modulesRoot, release), tools);
  const initramfsModules = await tree.closure(recipe.modules.initramfs);
  onProgress({ phase: "rootfs", text: "putting the root file system together" });
  const modules = await tree.closure([...recipe.modules.initramfs, ...recipe.modules.rootfs]);
  const modulesBuiltin = await readFile(join(modulesRoot, release, "modules.builtin"), "utf8");
  await stageRootfs(
    { ...options, version: IMAGE_VERSION, tools, kernelRelease: release, modulesBuiltin, modules },
    rootfs,
  );
  return { tools, kernelRoot, initramfsModules };
}

/** Fills `image` with all files of the image; `scratch` is for what lies on the way. */
export async function assembleImage(options: AssembleOptions, image: string, scratch: string): Promise<void> {
  const { recipe, repoRoot, onProgress } = options;
  const rootfs = join(scratch, "rootfs");
  const { tools, kernelRoot, initramfsModules } = await stageSystem(options, rootfs);
  const firmwareRoot = await unpackGroup(options.cacheDir, options.pins, "firmware");
  await copyFile(await findOne(kernelRoot, recipe.packages.kernelFile), join(image, "bzImage"));
  await copyFile(join(firmwareRoot, recipe.packages.firmwareFile), join(image, "ovmf.fd"));
  await writeFile(
    join(image, "initramfs.cpio.gz"),
    await makeInitramfs(rootfs, initramfsModules, await readFile(join(repoRoot, "services/guest/init/initramfs-init"))),
  );

  const squashfs = join(scratch, "rootfs.squashfs");
  await makeSquashfs(tools, rootfs, squashfs, (percent) =>
    onProgress({ phase: "squashfs", text: "compressing the root file system", percent }),
  );
  onProgress({ phase: "verity", text: "hashing the root file system" });
  const root = await writeRootDisk(squashfs, join(image, "rootfs.img.parted.verity"));
  await rm(squashfs);
  const cmdline = kernelCmdline(root.hash, root.sizeBytes);
  const metadata = {
    bios: "ovmf.fd",
    kernel: "bzImage",
    cmdline,
    initrd: "initramfs.cpio.gz",
    rootfs: "rootfs.img.parted.verity",
    version: IMAGE_VERSION,
    shared_ro: true,
    is_dev: recipe.flavours[options.flavour].isDev,
  };
  await writeFile(join(image, "metadata.json"), `${JSON.stringify(metadata, null, 2)}\n`);
  await writeMeasurement(image, cmdline);
  await writeChecksums(image);
}

/** Partition table, data and hash tree in one file. */
async function writeRootDisk(squashfs: string, target: string): Promise<{ hash: string; sizeBytes: number }> {
  const source = await open(squashfs);
  const disk = await open(target, "w");
  try {
    const { size } = await source.stat();
    const tree = await makeVerityTree(source, size);
    const layout = layOutGpt(size + tree.bytes.length);
    await disk.write(layout.head, 0, layout.head.length, 0);
    const chunk = Buffer.alloc(4 * 1024 * 1024);
    for (let at = 0; at < size;) {
      const { bytesRead } = await source.read(chunk, 0, Math.min(chunk.length, size - at), at);
      if (bytesRead === 0) throw new ImageError("build-failed", `${squashfs} ended at ${at}, expected ${size} bytes`);
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
  for (const name of CHECKSUM_ORDER)
    if (present.has(name)) sums.push({ name, sha256: await sha256File(join(image, name)) });
  const text = formatChecksumFile(sums);
  await writeFile(join(image, "sha256sum.txt"), text);
  await writeFile(join(image, "digest.txt"), formatDigestFile(osImageHash(text)));
}

async function unpackGroup(cacheDir: string, pins: readonly PinnedPackage[], group: string): Promise<string> {
  const members = pins.filter((pin) => pin.group === group);
  const root = join(
    cacheDir,
    "unpacked",
    `${group}-${hashOf(members.map((pin) => debPath("", pin)).join("\n")).slice(0, 16)}`,
  );
  await unpackOnce(cacheDir, members, root);
  return root;
}

/** The one file that matches a path whose last part may end in `*`. */
async function findOne(root: string, pattern: string): Promise<string> {
  const dir = join(root, dirname(pattern));
  const prefix = pattern.slice(dirname(pattern).length + 1).replace(/\*$/, "");
  return join(
    dir,
    only(
      (await readdir(dir)).filter((name) => name.startsWith(prefix)),
      `${dir}/${prefix}*`,
    ),
  );
}

function only(names: readonly string[], where: string): string {
  const [name, ...more] = names;
  if (name === undefined || more.length > 0)
    throw new ImageError("build-failed", `${where}: expected exactly one entry, found ${names.length}`);
  return name;
}
