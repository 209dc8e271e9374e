/** Guest images in a folder of the host: one folder per image, named as manifests name it. */
import { constants } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { equalBytes, type Hash32 } from "@dstack/bytes";
import { MAX_CHECKSUM_BYTES, osImageHash, parseChecksumFile } from "./checksum-file.ts";
import { ImageError } from "./errors.ts";
import { MAX_METADATA_BYTES, parseImageMetadata, type ImageMetadata } from "./metadata.ts";

export interface ImageDirectory {
  readonly dir: string;
  /** Last part of `dir`. */
  readonly name: string;
  readonly metadata: ImageMetadata;
  /** From metadata.json, else from the name behind `dstack-`, `dstack-dev-` or `dstack-sim-`; empty when neither tells. */
  readonly version: string;
  /** SHA-256 of sha256sum.txt, recomputed; undefined for images without that file. */
  readonly osImageHash: Hash32 | undefined;
  /** Absolute paths of the files that metadata.json names. */
  readonly files: {
    readonly bios?: string;
    readonly kernel: string;
    readonly initrd: string;
    readonly rootfs?: string;
    readonly hda?: string;
  };
}

/**
 * Reads one image folder. Contents of kernel, root and so on are not checked here
 * (`verifyImageFiles` does), their presence is.
 * @throws ImageError `not-an-image`, `bad-metadata`, `bad-checksums`
 */
export async function readImageDirectory(dir: string): Promise<ImageDirectory> {
  const metadataBytes = await readSmall(dir, "metadata.json", MAX_METADATA_BYTES);
  if (metadataBytes === undefined) throw new ImageError("not-an-image", `${dir} has no metadata.json`);
  const metadata = parseImageMetadata(metadataBytes);
  const name = basename(dir);
  const inside = async (file: string): Promise<string> => {
    const path = join(dir, file);
    const info = await lstat(path).catch(() => undefined);
    if (info === undefined || !info.isFile())
      throw new ImageError(
        "not-an-image",
        `${dir}: metadata.json names ${file}, which is ${info === undefined ? "missing" : "not a regular file"}`,
      );
    return path;
  };
  return {
    dir,
    name,
    metadata,
    version: metadata.version ?? /^dstack-(?:dev-|sim-|nvidia-(?:dev-)?)?(\d.*)$/.exec(name)?.[1] ?? "",
    osImageHash: await readDigest(dir),
    files: {
      kernel: await inside(metadata.kernel),
      initrd: await inside(metadata.initrd),
      ...(metadata.bios === undefined ? {} : { bios: await inside(metadata.bios) }),
      ...(metadata.rootfs === undefined ? {} : { rootfs: await inside(metadata.rootfs) }),
      ...(metadata.hda === undefined ? {} : { hda: await inside(metadata.hda) }),
    },
  };
}

/** All images below `root`, by name. Folders without a readable image are passed to `onSkip` with the reason. */
export async function listImages(
  root: string,
  onSkip: (name: string, reason: string) => void = () => undefined,
): Promise<ImageDirectory[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const images: ImageDirectory[] = [];
  for (const entry of entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .sort((a, b) => (a.name < b.name ? -1 : 1))) {
    try {
      images.push(await readImageDirectory(join(root, entry.name)));
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      onSkip(entry.name, error.message);
    }
  }
  return images;
}

async function readDigest(dir: string): Promise<Hash32 | undefined> {
  const sums = await readSmall(dir, "sha256sum.txt", MAX_CHECKSUM_BYTES);
  if (sums === undefined) return undefined;
  parseChecksumFile(sums);
  const hash = osImageHash(sums);
  const digest = await readSmall(dir, "digest.txt", 256);
  if (digest !== undefined && !equalBytes(Buffer.from(Buffer.from(digest).toString("latin1").trim(), "hex"), hash)) {
    throw new ImageError("bad-checksums", `${dir}: digest.txt is not the SHA-256 of sha256sum.txt`);
  }
  return hash;
}

/** Undefined when missing. Links are not followed. */
export async function readSmall(dir: string, name: string, maxBytes: number): Promise<Uint8Array | undefined> {
  const file = await open(join(dir, name), constants.O_RDONLY | constants.O_NOFOLLOW).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw new ImageError("not-an-image", `${join(dir, name)} cannot be opened: ${error.code ?? error.message}`, {
        cause: error,
      });
    },
  );
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    if (size > maxBytes)
      throw new ImageError("not-an-image", `${join(dir, name)} has ${size} bytes, at most ${maxBytes} are allowed`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}
