import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import { listImages, readImageDirectory, type ImageDirectory } from "@dstack/image";
import { VmmError } from "../errors.ts";
import { checkImageName } from "../vm/manifest.ts";

export type ImageVersion = readonly [number, number, number];

/** The first three numbers of a version; an unreadable one counts as 0.0.0. */
export function imageVersion(text: string): ImageVersion {
  const match = /^(\d{1,5})\.(\d{1,5})\.(\d{1,5})(?:\D|$)/.exec(text);
  return match === null ? [0, 0, 0] : [Number(match[1]), Number(match[2]), Number(match[3])];
}

export function atLeast(version: ImageVersion, major: number, minor: number, patch: number): boolean {
  const [a, b, c] = version;
  return a !== major ? a > major : b !== minor ? b > minor : c >= patch;
}

/** @throws VmmError `image-unusable` naming the image and those that are there */
export async function loadGuestImage(imagePath: string, name: string): Promise<ImageDirectory> {
  const dir = join(imagePath, checkImageName(name));
  if ((await stat(dir).catch(() => undefined))?.isDirectory() !== true) {
    const known = (await listImages(imagePath)).map((image) => image.name);
    throw new VmmError(
      "image-unusable",
      `image ${name} does not exist in ${imagePath}; ${known.length === 0 ? "there is no image yet, build one with: dstack image build" : `there are: ${known.join(", ")}`}`,
    );
  }
  try {
    return await readImageDirectory(dir);
  } catch (cause) {
    throw new VmmError("image-unusable", `image ${name} cannot be used: ${(cause as Error).message}`, { cause });
  }
}

/** The hash as `vm_config` carries it; "" for images without one. */
export const imageHashText = (image: ImageDirectory): string =>
  image.osImageHash === undefined ? "" : toHex(image.osImageHash);

/** The files that QEMU is given and firmware measures, read anew at each start. */
export async function readMeasuredFiles(
  image: ImageDirectory,
): Promise<{ firmware: Uint8Array; kernel: Uint8Array; initrd: Uint8Array; cmdline: string }> {
  if (image.files.bios === undefined)
    throw new VmmError("image-unusable", `image ${image.name} names no firmware (bios), which a TDX machine needs`);
  const [firmware, kernel, initrd] = await Promise.all([
    readFile(image.files.bios),
    readFile(image.files.kernel),
    readFile(image.files.initrd),
  ]);
  return {
    firmware: new Uint8Array(firmware),
    kernel: new Uint8Array(kernel),
    initrd: new Uint8Array(initrd),
    cmdline: image.metadata.cmdline ?? "",
  };
}
