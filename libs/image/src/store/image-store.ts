import { mkdir, mkdtemp, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { toHex, type Hash32 } from "@dstack/bytes";
import { streamedFetch } from "@dstack/http";
import type { Logger } from "@dstack/log";
import { ImageError } from "../errors.ts";
import { downloadBundle } from "./download-bundle.ts";
import { SharedWork } from "./shared-work.ts";
import { readStoredImage, type MeasuredImage } from "./stored-image.ts";

export interface ImageStoreOptions {
  /** Holds `images/<hash>`; made when first needed. */
  readonly cacheDir: string;
  /** http or https, with `{OS_IMAGE_HASH}` in it. */
  readonly downloadUrl: string;
  /** For one download as a whole. */
  readonly timeoutMs: number;
  readonly log: Logger;
  readonly fetch?: typeof globalThis.fetch;
}

const TEMPORARY = "tmp";
/** Folders of ours below the cache: 0.5.5 named the last one. */
const MEASUREMENT_FOLDERS = ["measurements", "computed"] as const;

/**
 * Measurement files of OS images under `<cacheDir>/images/<hash>`, downloaded once. A download is
 * unpacked beside the cache and renamed into it, and what is given out are the very bytes whose
 * hashes were compared: a kill, a rotten disk or an edited file give another download, never
 * another measurement.
 */
export class ImageStore {
  readonly #options: ImageStoreOptions;
  readonly #pending = new Map<string, SharedWork<MeasuredImage>>();
  readonly #working = new Set<string>();

  constructor(options: ImageStoreOptions) {
    this.#options = options;
  }

  /**
   * Callers that ask for the same hash at the same time share one download, which ends with the last of them.
   * @param signal ends the caller's own wait
   * @throws the signal's reason; ImageError `image-unavailable` where it may be there later, `wrong-image` where it is not what the hash says
   */
  imageOf(hash: Hash32, signal?: AbortSignal): Promise<MeasuredImage> {
    const name = toHex(hash);
    const pending = this.#pending.get(name);
    if (pending?.isGivenUp === false) return pending.wait(signal);
    const begun = new SharedWork((given) =>
      this.#load(name, hash, given).finally(() => {
        if (this.#pending.get(name) === begun) this.#pending.delete(name);
      }),
    );
    this.#pending.set(name, begun);
    return begun.wait(signal);
  }

  /**
   * Removes one image or one kept measurement, by its hash; "" does nothing, "all" takes every one.
   * A download that is under way goes on.
   * @throws ImageError `bad-cache-key` for a name that is no hash (#558)
   */
  async clear(kind: "images" | "measurements", given: string): Promise<void> {
    if (given === "") return;
    // Hex of another length names nothing that is there, and nothing has to be removed.
    if (given !== "all" && !/^[0-9a-f]{1,128}$/i.test(given))
      throw new ImageError("bad-cache-key", "invalid cache key");
    const key = given.toLowerCase();
    if (key !== "all" && key.length !== 64) return;
    // Releases of the reference keep measurements as <hash>.json, and looked for <hash>.
    const folders = (kind === "images" ? ["images"] : MEASUREMENT_FOLDERS).map((folder) =>
      join(this.#options.cacheDir, folder),
    );
    const names = kind === "images" ? [key] : [key, `${key}.json`];
    for (const folder of folders) {
      if (key === "all") await this.#empty(folder);
      else for (const name of names) await rm(join(folder, name), { recursive: true, force: true });
    }
  }

  /** Removes a folder and all in it but the downloads under way. */
  async #empty(folder: string): Promise<void> {
    for (const name of await namesIn(folder)) {
      if (name !== TEMPORARY) await rm(join(folder, name), { recursive: true, force: true });
    }
    const temporary = join(folder, TEMPORARY);
    for (const name of await namesIn(temporary)) {
      if (!this.#working.has(name)) await rm(join(temporary, name), { recursive: true, force: true });
    }
    for (const path of [temporary, folder]) await rmdir(path).catch(allow("ENOENT", "ENOTEMPTY"));
  }

  async #load(name: string, hash: Hash32, signal: AbortSignal): Promise<MeasuredImage> {
    const folder = join(this.#options.cacheDir, "images", name);
    const stored = await readStoredImage(folder, hash);
    if (stored.kind === "good") return stored;
    if (stored.kind === "bad") {
      this.#options.log.warn(
        { image: name, reason: stored.reason },
        "cached image files are not what their hash says; downloading again",
      );
      await rm(folder, { recursive: true, force: true });
    }
    signal.throwIfAborted();
    try {
      return await this.#download(name, hash, folder, signal);
    } catch (cause) {
      throw new ImageError(
        cause instanceof ImageError ? cause.code : "image-unavailable",
        `Failed to download image ${name}`,
        { cause },
      );
    }
  }

  async #download(name: string, hash: Hash32, folder: string, signal: AbortSignal): Promise<MeasuredImage> {
    const { cacheDir, downloadUrl, timeoutMs, log, fetch = streamedFetch } = this.#options;
    const url = downloadUrl.replaceAll("{OS_IMAGE_HASH}", name);
    const temporary = join(cacheDir, "images", TEMPORARY);
    await mkdir(temporary, { recursive: true, mode: 0o700 });
    await this.#removeLeftovers(temporary);
    const work = await mkdtemp(join(temporary, "tmp-download-"));
    this.#working.add(basename(work));
    const started = performance.now();
    try {
      await downloadBundle({ url, hash, folder: work, timeoutMs, fetch, signal });
      const stored = await readStoredImage(work, hash);
      if (stored.kind !== "good")
        throw new ImageError("wrong-image", stored.kind === "bad" ? stored.reason : "the unpacked files are gone");
      // Another process with the same cache may have been faster.
      await rename(work, folder).catch(allow("ENOTEMPTY", "EEXIST"));
      log.info({ image: name, url, ms: Math.round(performance.now() - started) }, "image files downloaded and checked");
      return stored;
    } finally {
      await rm(work, { recursive: true, force: true });
      this.#working.delete(basename(work));
    }
  }

  /** Downloads of killed processes: those that nobody has touched for longer than a download may take. */
  async #removeLeftovers(temporary: string): Promise<void> {
    const before = Date.now() - 2 * this.#options.timeoutMs;
    for (const name of await namesIn(temporary)) {
      const path = join(temporary, name);
      const info = await stat(path).catch(allow("ENOENT"));
      if (info !== undefined && info.mtimeMs < before && !this.#working.has(name))
        await rm(path, { recursive: true, force: true });
    }
  }
}

const namesIn = async (folder: string): Promise<string[]> => (await readdir(folder).catch(allow("ENOENT"))) ?? [];

function allow(...codes: readonly string[]): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (!codes.includes(error.code ?? "")) throw error;
    return undefined;
  };
}
