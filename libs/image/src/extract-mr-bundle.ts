/**
 * Reads mr_*.tar.gz from an untrusted source (an image download is not authenticated until
 * it is hashed). Only flat regular files with plain names come through; everything else in
 * a tar is refused before a byte of it is written.
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Transform, type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { extract } from "tar-stream";
import { excerpt } from "@dstack/errors";
import type { FileChecksum } from "./checksum-file.ts";
import { ImageError } from "./errors.ts";

/** Bytes of all files of a bundle together, unless the caller says otherwise. */
export const MAX_UNPACKED_BYTES = 256 * 1024 * 1024;

export interface MrBundleLimits {
  /** Compressed bytes taken from the stream; 128 MiB unless given. */
  readonly maxCompressedBytes?: number;
  /** Bytes after decompression, all files together; 256 MiB unless given. */
  readonly maxTotalBytes?: number;
  /** Files; 32 unless given. */
  readonly maxFiles?: number;
  readonly signal?: AbortSignal;
}

const NAME = /^(?:\.\/)?(?!\.{1,2}$)([A-Za-z0-9._+-]{1,128})$/;

/**
 * Unpacks into `destDir`, which exists and is empty; files are created exclusively, mode
 * 0600. On an error what was written so far stays: the caller owns and removes the folder.
 * The caller then compares the checksums, taken as the bytes came, with those it asked for.
 * @returns the files in the order of the archive
 * @throws ImageError `bad-bundle` for links, devices, folders with content, `..`, slashes, duplicates, excess size; the system's error where the disk fails
 */
export async function extractMrBundle(
  stream: Readable,
  destDir: string,
  limits: MrBundleLimits = {},
): Promise<FileChecksum[]> {
  const maxCompressed = limits.maxCompressedBytes ?? 128 * 1024 * 1024;
  const maxTotal = limits.maxTotalBytes ?? MAX_UNPACKED_BYTES;
  const maxFiles = limits.maxFiles ?? 32;
  const unpack = extract();
  // A stream that breaks off inside a file must not leave that file's writer waiting for more.
  const stop = new AbortController();
  const signal = limits.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, limits.signal]);
  const feeding = pipeline(
    stream,
    cap(maxCompressed, "compressed"),
    createGunzip(),
    cap(maxTotal + maxFiles * 2048 + 65_536, "decompressed"),
    unpack,
    { signal },
  );
  const files: FileChecksum[] = [];
  let total = 0;
  const reading = (async () => {
    for await (const entry of unpack) {
      const { name: rawName, type, size = 0 } = entry.header;
      if (type === "directory" && (rawName === "./" || rawName === ".")) {
        entry.resume();
        continue;
      }
      const name = NAME.exec(rawName)?.[1];
      if (type !== "file")
        throw new ImageError(
          "bad-bundle",
          `image bundle: "${excerpt(rawName)}" is a ${type ?? "special entry"}, only regular files are allowed`,
        );
      if (name === undefined)
        throw new ImageError("bad-bundle", `image bundle: "${excerpt(rawName)}" is not a plain file name`);
      if (files.some((file) => file.name === name))
        throw new ImageError("bad-bundle", `image bundle: ${name} occurs twice`);
      if (files.length >= maxFiles) throw new ImageError("bad-bundle", `image bundle: more than ${maxFiles} files`);
      total += size;
      if (total > maxTotal) throw new ImageError("bad-bundle", `image bundle: more than ${maxTotal} bytes unpacked`);
      const file = await open(join(destDir, name), "wx", 0o600);
      const sha256 = createHash("sha256");
      await pipeline(
        entry,
        tap((chunk) => sha256.update(chunk)),
        file.createWriteStream(),
        { signal },
      );
      files.push({ name, sha256: sha256.digest("hex") });
    }
  })();
  try {
    await Promise.all([feeding, reading]);
  } catch (error) {
    stop.abort();
    unpack.destroy();
    await Promise.allSettled([feeding, reading]);
    if (error instanceof ImageError || limits.signal?.aborted === true) throw error;
    // A full or failing disk is no fault of the bundle.
    if ((error as NodeJS.ErrnoException).syscall !== undefined && (error as NodeJS.ErrnoException).code !== "EEXIST")
      throw error;
    throw new ImageError(
      "bad-bundle",
      `image bundle cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
  return files;
}

function cap(maxBytes: number, what: string): (source: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array> {
  return async function* (source) {
    let seen = 0;
    for await (const chunk of source) {
      seen += chunk.length;
      if (seen > maxBytes) throw new ImageError("bad-bundle", `image bundle: more than ${maxBytes} bytes ${what}`);
      yield chunk;
    }
  };
}

function tap(see: (chunk: Uint8Array) => void): Transform {
  return new Transform({
    transform: (chunk: Uint8Array, _encoding, done) => {
      see(chunk);
      done(null, chunk);
    },
  });
}
