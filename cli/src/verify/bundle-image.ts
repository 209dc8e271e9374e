import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { equalBytes, hash32, parseHex, toHex, type Hash32 } from "@dstack/bytes";
import { ImageError, listImages, makeMrBundle, readImageDirectory } from "@dstack/image";
import { parseVmConfig, TDX_MEASUREMENT_FILE, type MeasurementMaterial } from "@dstack/measure";
import { verifyOsImage } from "@dstack/verify";
import type { Bundle, BundledImage } from "./bundle.ts";
import type { ImageInput } from "./context.ts";

/**
 * What a bundle needs of the images that evidence was compared with: the measurement document where that
 * gives the same registers, which it does for released firmware, else the image's files.
 * @param folders looked through for images, each an image or a folder of images; what is in none is left out
 */
export async function bundleImages(
  inputs: readonly ImageInput[],
  folders: readonly string[],
): Promise<Bundle["images"]> {
  const images: Bundle["images"] = {};
  const byHash = Map.groupBy(inputs, ({ vmConfig }) => toHex(parseVmConfig(vmConfig).osImageHash ?? new Uint8Array(0)));
  for (const [hash, sharing] of byHash) {
    const image = hash === "" ? undefined : await bundleImage(hash32(parseHex(hash)), folders, sharing);
    if (image !== undefined) images[hash] = image;
  }
  return images;
}

async function bundleImage(
  hash: Hash32,
  folders: readonly string[],
  inputs: readonly ImageInput[],
): Promise<BundledImage | undefined> {
  const dir = await findImage(hash, folders);
  if (dir === undefined) return undefined;
  const material = await readMaterial(dir);
  if (material !== undefined && (await sufficesFor(inputs, material)))
    return { checksum_file: toBase64(material.checksumFile), measurement: toBase64(material.measurement) };
  const folder = await mkdtemp(join(tmpdir(), "dstack-bundle-"));
  try {
    return { files_tar_gz: toBase64(await readFile(await makeMrBundle(dir, folder))) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function sufficesFor(inputs: readonly ImageInput[], material: MeasurementMaterial): Promise<boolean> {
  for (const input of inputs) {
    const verdict = await verifyOsImage({
      ...input,
      images: { find: () => Promise.resolve({ kind: "document", material }) },
      acpiTables: "computed-or-logged",
    });
    if (!verdict.ok) return false;
  }
  return true;
}

async function findImage(hash: Hash32, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    for (const { dir, osImageHash } of [...(await imageAt(folder)), ...(await listImages(folder))]) {
      if (osImageHash !== undefined && equalBytes(osImageHash, hash)) return dir;
    }
  }
  return undefined;
}

async function imageAt(folder: string): Promise<readonly Awaited<ReturnType<typeof readImageDirectory>>[]> {
  try {
    return [await readImageDirectory(folder)];
  } catch (error) {
    if (error instanceof ImageError) return [];
    throw error;
  }
}

async function readMaterial(dir: string): Promise<MeasurementMaterial | undefined> {
  try {
    return {
      checksumFile: await readFile(join(dir, "sha256sum.txt")),
      measurement: await readFile(join(dir, TDX_MEASUREMENT_FILE)),
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
