/**
 * Collateral as files, one per platform key, in the JSON form that tools exchange. Files are replaced
 * whole; what another program left or damaged is told and not read; the oldest go beyond the bounds.
 */
import { mkdir, readdir, stat } from "node:fs/promises";
import type { Stats } from "node:fs";
import { join } from "node:path";
import { parseJson } from "@dstack/bytes";
import { readTextIfExists, removeIfExists, writeJsonAtomic } from "@dstack/files";
import { collateralFromJson, collateralToJson } from "../collateral.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { AttestError, reading } from "../errors.ts";

export interface StoredCollateral {
  readonly collateral: QuoteCollateral;
  /** Unix milliseconds: when the file was written. */
  readonly writtenAtMs: number;
}

/** Intel's documents together have some 40 kB. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
const MAX_FOLDER_BYTES = 64 * 1024 * 1024;
const MAX_FILES = 256;
/** What a writer that was killed left behind is as old as this. */
const ABANDONED_MS = 60 * 60 * 1000;
const KEY = /^[a-z0-9-]{1,80}$/;
/** Of `writeJsonAtomic`, for a file of ours. */
const TEMPORARY = /^\.[a-z0-9-]{1,80}\.json\.[0-9a-f]+\.tmp$/;

export class CollateralFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Undefined where there is no such file.
   * @throws AttestError `collateral-malformed` where it is no collateral; the system's error where it cannot be read
   */
  async read(key: string): Promise<StoredCollateral | undefined> {
    const path = this.fileOf(key);
    const found = await this.#look(path);
    if (found === undefined) return undefined;
    // A pipe in its place would never end.
    if (!found.isFile())
      throw new AttestError("collateral-malformed", `collateral file ${path}: expected a regular file`);
    if (found.size > MAX_FILE_BYTES)
      throw new AttestError("collateral-malformed", `collateral file: ${found.size} bytes, limit ${MAX_FILE_BYTES}`);
    const text = await readTextIfExists(path).catch((cause: unknown) => {
      if (cause instanceof TypeError)
        throw new AttestError("collateral-malformed", `collateral file ${path}: not UTF-8`, { cause });
      throw cause;
    });
    if (text === undefined) return undefined;
    const value = reading("collateral-malformed", `collateral file ${path}`, () => parseJson(text, "JSON"));
    return { collateral: collateralFromJson(value), writtenAtMs: found.mtimeMs };
  }

  /** Another text once the file was replaced or written to; undefined where there is none. */
  async stampOf(key: string): Promise<string | undefined> {
    const found = await this.#look(this.fileOf(key));
    return found === undefined ? undefined : `${found.ino} ${found.size} ${found.mtimeMs}`;
  }

  /** Keys of the files in it, oldest first; at most 256, the newest. None where there is no folder. */
  async keys(): Promise<string[]> {
    const files = await this.#files();
    return files.slice(-MAX_FILES).map(({ name }) => name.slice(0, -SUFFIX.length));
  }

  /**
   * Replaces the file whole. Beyond 256 files or 64 MiB the oldest go, those of `kept` keys last; so do
   * temporary files that a killed writer left.
   */
  async write(key: string, collateral: QuoteCollateral, kept: ReadonlySet<string> = new Set()): Promise<string> {
    const path = this.fileOf(key);
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    await writeJsonAtomic(path, collateralToJson(collateral));
    await this.#trim(new Set([...kept, key]));
    return path;
  }

  /** @throws AttestError `collateral-malformed` for a key that could leave the folder */
  fileOf(key: string): string {
    if (!KEY.test(key))
      throw new AttestError("collateral-malformed", "collateral key: expected lower-case letters, digits and hyphens");
    return join(this.path, `${key}${SUFFIX}`);
  }

  async #trim(kept: ReadonlySet<string>): Promise<void> {
    const files = await this.#files();
    const isKept = ({ name }: Found): boolean => kept.has(name.slice(0, -SUFFIX.length));
    let bytes = files.reduce((sum, { size }) => sum + size, 0);
    let count = files.length;
    for (const file of [...files.filter((one) => !isKept(one)), ...files.filter(isKept)]) {
      if (count <= MAX_FILES && bytes <= MAX_FOLDER_BYTES) break;
      await removeIfExists(join(this.path, file.name));
      count--;
      bytes -= file.size;
    }
    const abandoned = (await this.#names()).filter((name) => TEMPORARY.test(name));
    for (const name of abandoned) {
      const found = await this.#look(join(this.path, name));
      if (found !== undefined && Date.now() - found.mtimeMs > ABANDONED_MS) await removeIfExists(join(this.path, name));
    }
  }

  /** Oldest first. What has another form of name is not ours. */
  async #files(): Promise<Found[]> {
    const names = (await this.#names()).filter(
      (name) => name.endsWith(SUFFIX) && KEY.test(name.slice(0, -SUFFIX.length)),
    );
    const found = await Promise.all(
      names.map(async (name): Promise<Found[]> => {
        const stats = await this.#look(join(this.path, name));
        return stats?.isFile() === true ? [{ name, at: stats.mtimeMs, size: stats.size }] : [];
      }),
    );
    return found.flat().toSorted((a, b) => a.at - b.at);
  }

  #names(): Promise<string[]> {
    return readdir(this.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
  }

  #look(path: string): Promise<Stats | undefined> {
    return stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
  }
}

const SUFFIX = ".json";

interface Found {
  readonly name: string;
  readonly at: number;
  readonly size: number;
}
