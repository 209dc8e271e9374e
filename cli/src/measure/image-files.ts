import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { toHex, type Hash32 } from "@dstack/bytes";
import { osImageHash, parseChecksumFile, parseImageMetadata, type ImageMetadata } from "@dstack/image";
import type { VmFiles } from "@dstack/measure";
import { asRefusal } from "@dstack/errors";
import { CliError } from "../terminal/errors.ts";

/** The measured part of an image folder. The root file system need not be there. */
export interface MeasuredImage {
  readonly dir: string;
  readonly metadata: ImageMetadata;
  readonly files: VmFiles;
  /** SHA-256 of sha256sum.txt, whose list the files match; undefined for images without that file. */
  readonly osImageHash: Hash32 | undefined;
}

/**
 * Reads each file once: the bytes that are given out are those that were compared with the list.
 * @param image the folder, or the path of its metadata.json
 * @throws CliError `not-found` without an image there, `denied` when a file is not the listed one
 */
export async function readMeasuredImage(image: string): Promise<MeasuredImage> {
  const dir = image.endsWith(".json") ? dirname(image) : image;
  const metadata = readable(
    parseImageMetadata,
    await read(image.endsWith(".json") ? image : join(dir, "metadata.json")),
  );
  const { bios, kernel, initrd, cmdline } = metadata;
  if (bios === undefined || cmdline === undefined)
    throw new CliError(
      "failed",
      `${dir}: metadata.json has no ${bios === undefined ? "bios" : "cmdline"}, so the image cannot be measured`,
    );
  const files = {
    firmware: await read(join(dir, bios)),
    kernel: await read(join(dir, kernel)),
    initrd: await read(join(dir, initrd)),
    cmdline,
  };
  const bytes = new Map([
    [bios, files.firmware],
    [kernel, files.kernel],
    [initrd, files.initrd],
  ]);
  return { dir, metadata, files, osImageHash: await checkedImageHash(dir, bytes) };
}

async function checkedImageHash(dir: string, bytes: ReadonlyMap<string, Uint8Array>): Promise<Hash32 | undefined> {
  const sums = await readFile(join(dir, "sha256sum.txt")).catch(absent);
  if (sums === undefined) return undefined;
  const listed = readable(parseChecksumFile, sums);
  for (const name of [...bytes.keys(), "metadata.json"]) {
    if (!listed.some((entry) => entry.name === name))
      throw new CliError(
        "denied",
        `${dir}: sha256sum.txt does not list ${name}, so the image's hash does not cover it`,
      );
  }
  for (const { name, sha256 } of listed) {
    const got = createHash("sha256")
      .update(bytes.get(name) ?? (await read(join(dir, name))))
      .digest("hex");
    if (got !== sha256)
      throw new CliError(
        "denied",
        `${dir}: ${name} is not the image's: sha256sum.txt expects ${sha256}, the file has ${got}`,
      );
  }
  const hash = osImageHash(sums);
  const digest = (await readFile(join(dir, "digest.txt"), "latin1").catch(absent))?.trim();
  if (digest !== undefined && digest !== toHex(hash))
    throw new CliError(
      "denied",
      `${dir}: digest.txt has ${digest.slice(0, 80)}, the SHA-256 of sha256sum.txt is ${toHex(hash)}`,
    );
  return hash;
}

async function read(path: string): Promise<Uint8Array> {
  const bytes = await readFile(path).catch(absent);
  if (bytes === undefined)
    throw new CliError("not-found", `${path} does not exist`, {
      hint: "--image takes the folder of a guest image; list images with `dstack image list`",
    });
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

function readable<T>(parse: (bytes: Uint8Array) => T, bytes: Uint8Array): T {
  return asRefusal(
    () => parse(bytes),
    (cause) => new CliError("failed", "the image cannot be read", { cause }),
  );
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
  throw error;
}
