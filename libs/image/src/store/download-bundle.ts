import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { toHex, type Hash32 } from "@dstack/bytes";
import { fetchFollowing, HttpError } from "@dstack/http";
import { readSmall } from "../read-image-directory.ts";
import { MAX_CHECKSUM_BYTES, osImageHash, parseChecksumFile } from "../checksum-file.ts";
import { ImageError } from "../errors.ts";
import { extractMrBundle } from "../extract-mr-bundle.ts";

export interface DownloadOptions {
  readonly url: string;
  readonly hash: Hash32;
  /** Exists and is empty. */
  readonly folder: string;
  readonly timeoutMs: number;
  /** Fires when nobody wants the image any more. */
  readonly signal: AbortSignal;
  readonly fetch: typeof globalThis.fetch;
}

/**
 * Fetches the measurement files of an image and leaves exactly those that its checksum list names,
 * hashed as they came in, and the list itself.
 * @throws the signal's reason; ImageError `image-unavailable`, `wrong-image`
 */
export async function downloadBundle(options: DownloadOptions): Promise<void> {
  const { url, hash, folder, timeoutMs, fetch } = options;
  const late = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([late, options.signal]);
  try {
    const body = await open(url, fetch, signal);
    const received = await extractMrBundle(Readable.from(chunksOf(body, url)), folder, { signal });
    const sums = await readSmall(folder, "sha256sum.txt", MAX_CHECKSUM_BYTES);
    if (sums === undefined) throw new ImageError("wrong-image", "sha256sum.txt not found in the extracted archive");
    const got = osImageHash(sums);
    if (toHex(got) !== toHex(hash))
      throw new ImageError(
        "wrong-image",
        `os_image_hash does not match sha256(sha256sum.txt): expected ${toHex(hash)}, got ${toHex(got)}`,
      );
    const listed = parseChecksumFile(sums);
    const hashes = new Map(received.map(({ name, sha256 }) => [name, sha256]));
    for (const { name, sha256 } of listed) {
      if (hashes.get(name) !== sha256)
        throw new ImageError(
          "wrong-image",
          `Checksum verification failed: ${name}: sha256sum.txt expects ${sha256}, ${hashes.has(name) ? `the file has ${hashes.get(name)}` : "the archive lacks it"}`,
        );
    }
    const keep = new Set([...listed.map(({ name }) => name), "sha256sum.txt"]);
    for (const { name } of received) if (!keep.has(name)) await rm(join(folder, name));
  } catch (cause) {
    options.signal.throwIfAborted();
    if (late.aborted)
      throw new ImageError("image-unavailable", `Download image timeout (${timeoutMs} ms), url: ${url}`, { cause });
    if (cause instanceof ImageError && (cause.code === "image-unavailable" || cause.code === "wrong-image"))
      throw cause;
    if (cause instanceof ImageError)
      throw new ImageError("wrong-image", `image bundle at ${url} is refused`, { cause });
    const { syscall, code } = cause as NodeJS.ErrnoException;
    throw new ImageError(
      "image-unavailable",
      syscall === undefined ? `${url} could not be read` : `${folder} could not be written: ${code}`,
      { cause },
    );
  }
}

// A connection that breaks says nothing about the image, other than an archive that ends too early.
async function* chunksOf(body: ReadableStream<Uint8Array>, url: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of body) yield chunk;
  } catch (cause) {
    throw new ImageError("image-unavailable", `the download of ${url} broke off`, { cause });
  }
}

async function open(
  url: string,
  fetch: typeof globalThis.fetch,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  // The bytes as they are: the bundle is its own compression.
  const response = await fetchFollowing(url, { fetch, signal, headers: { "accept-encoding": "identity" } }).catch(
    (cause: unknown) => {
      if (!(cause instanceof HttpError)) throw cause;
      throw new ImageError("image-unavailable", `Failed to download image: ${cause.message}, url: ${url}`, { cause });
    },
  );
  if (response.status === 200 && response.body !== null) return response.body;
  await response.body?.cancel();
  throw new ImageError("image-unavailable", `Failed to download image: HTTP status ${response.status}, url: ${url}`);
}
