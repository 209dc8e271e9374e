import { mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { equalBytes, toHex, type Hash32 } from "@dstack/bytes";
import { extractMrBundle, ImageError, parseImageMetadata, verifyImageFiles } from "@dstack/image";
import type { Logger } from "@dstack/log";
import type { VmFiles } from "@dstack/measure";
import { KmsError } from "../errors.ts";

export interface ImageStoreOptions {
  readonly cacheDir: string;
  /** With `{OS_IMAGE_HASH}` in it. */
  readonly downloadUrl: string;
  readonly timeoutMs: number;
  readonly log: Logger;
  readonly fetch?: typeof globalThis.fetch;
}

/** What measures an image: its files by the hash that names them all. */
export interface ImageSource {
  /** @throws KmsError `image-unavailable`, `image-mismatch` */
  filesOf(hash: Hash32): Promise<VmFiles>;
}

/**
 * Measurement files of OS images under `<cacheDir>/images/<hash>`, downloaded once and checked
 * against the hash each time they are read: a cache that rots or is edited gives no measurement.
 */
export class ImageStore implements ImageSource {
  readonly #options: ImageStoreOptions;
  readonly #pending = new Map<string, Promise<VmFiles>>();

  constructor(options: ImageStoreOptions) {
    this.#options = options;
  }

  filesOf(hash: Hash32): Promise<VmFiles> {
    const name = toHex(hash);
    let pending = this.#pending.get(name);
    if (pending === undefined) {
      pending = this.#load(name, hash).finally(() => this.#pending.delete(name));
      this.#pending.set(name, pending);
    }
    return pending;
  }

  /**
   * Removes `images/<hash>` or `measurements/<hash>`; "" does nothing, "all" takes the whole folder.
   * @throws KmsError `image-mismatch` for a name that is no hash (#558)
   */
  async clear(kind: "images" | "measurements", name: string): Promise<void> {
    if (name === "") return;
    if (name !== "all" && !/^[0-9a-f]{64}$/.test(name)) throw new KmsError("image-mismatch", "invalid cache key");
    const folder = join(this.#options.cacheDir, kind);
    await rm(name === "all" ? folder : join(folder, name), { recursive: true, force: true });
  }

  async #load(name: string, hash: Hash32): Promise<VmFiles> {
    const folder = join(this.#options.cacheDir, "images", name);
    const cached = await checked(folder, hash);
    if (cached.kind === "good") return readFiles(folder);
    if (cached.kind === "bad") {
      this.#options.log.warn({ image: name, reason: cached.reason }, "cached image files are not what their hash says; downloading again");
      await rm(folder, { recursive: true, force: true });
    }
    try {
      await this.#download(name, hash, folder);
    } catch (cause) {
      throw new KmsError(cause instanceof KmsError ? cause.code : "image-unavailable", `Failed to download image ${name}`, { cause });
    }
    return readFiles(folder);
  }

  async #download(name: string, hash: Hash32, folder: string): Promise<void> {
    const { cacheDir, downloadUrl, timeoutMs, log, fetch = globalThis.fetch } = this.#options;
    const url = downloadUrl.replaceAll("{OS_IMAGE_HASH}", name);
    const temporary = join(cacheDir, "images", "tmp");
    await mkdir(temporary, { recursive: true, mode: 0o700 });
    const work = await mkdtemp(join(temporary, "tmp-download-"));
    const signal = AbortSignal.timeout(timeoutMs);
    const started = performance.now();
    try {
      const response = await fetch(url, { signal, redirect: url.startsWith("https:") ? "follow" : "error" });
      if (response.status !== 200 || response.body === null) {
        await response.body?.cancel();
        throw new KmsError("image-unavailable", `Failed to download image: HTTP status ${response.status}, url: ${url}`);
      }
      await extractMrBundle(Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]), work, { signal });
      const result = await checked(work, hash);
      if (result.kind !== "good") throw new KmsError("image-mismatch", result.kind === "bad" ? result.reason : "metadata.json not found in the extracted archive");
      for (const file of await readdir(work)) if (!result.keep.has(file)) await rm(join(work, file));
      await rename(work, folder);
      log.info({ image: name, url, ms: Math.round(performance.now() - started) }, "image files downloaded and checked");
    } catch (cause) {
      if (signal.aborted) throw new KmsError("image-unavailable", `Download image timeout (${timeoutMs} ms), url: ${url}`, { cause });
      if (cause instanceof KmsError) throw cause;
      if (cause instanceof ImageError) throw new KmsError("image-mismatch", `image bundle at ${url} is refused`, { cause });
      throw new KmsError("image-unavailable", `${url} could not be read`, { cause });
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
}

type Checked = { readonly kind: "absent" } | { readonly kind: "bad"; readonly reason: string } | { readonly kind: "good"; readonly keep: ReadonlySet<string> };

/** Every listed file hashed, and the list itself against the image's hash. */
async function checked(folder: string, hash: Hash32): Promise<Checked> {
  const present = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (present === undefined || !present.includes("metadata.json")) return { kind: "absent" };
  try {
    const result = await verifyImageFiles(folder);
    if (!result.ok) return { kind: "bad", reason: `Checksum verification failed: ${result.reason}` };
    if (!equalBytes(result.osImageHash, hash)) {
      return { kind: "bad", reason: `os_image_hash does not match sha256(sha256sum.txt): expected ${toHex(hash)}, got ${toHex(result.osImageHash)}` };
    }
    return { kind: "good", keep: new Set([...result.files, "sha256sum.txt"]) };
  } catch (error) {
    if (error instanceof ImageError) return { kind: "bad", reason: error.message };
    throw error;
  }
}

async function readFiles(folder: string): Promise<VmFiles> {
  const metadata = parseImageMetadata(await readFile(join(folder, "metadata.json")));
  if (metadata.bios === undefined) throw new KmsError("image-mismatch", "metadata.json names no bios, so the firmware cannot be measured");
  const [firmware, kernel, initrd] = await Promise.all([metadata.bios, metadata.kernel, metadata.initrd].map((name) => readFile(join(folder, name))));
  return { firmware: firmware!, kernel: kernel!, initrd: initrd!, cmdline: metadata.cmdline ?? "" };
}
