/** Collateral as files, one per platform key, in the JSON form that tools exchange. */
import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { readTextIfExists, removeIfExists, writeJsonAtomic } from "@dstack/files";
import { collateralFromJson, collateralToJson } from "../collateral.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { AttestError } from "../errors.ts";

export interface StoredCollateral {
  readonly collateral: QuoteCollateral;
  /** Unix milliseconds: when the file was written. */
  readonly writtenAtMs: number;
}

const MAX_FILE_BYTES = 8 * 1024 * 1024;
const MAX_FILES = 256;
const KEY = /^[a-z0-9-]{1,80}$/;

export class CollateralFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** @throws AttestError `collateral-malformed` where the file is no collateral */
  async read(key: string): Promise<StoredCollateral | undefined> {
    const path = this.fileOf(key);
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (found === undefined) return undefined;
    if (found.size > MAX_FILE_BYTES)
      throw new AttestError("collateral-malformed", `collateral file: ${found.size} bytes, limit ${MAX_FILE_BYTES}`);
    let value: unknown;
    try {
      value = JSON.parse((await readTextIfExists(path)) ?? "");
    } catch (cause) {
      throw new AttestError("collateral-malformed", `collateral file ${path}: not valid JSON`, { cause });
    }
    return { collateral: collateralFromJson(value), writtenAtMs: found.mtimeMs };
  }

  /** Replaces the file whole; beyond 256 files the oldest goes. */
  async write(key: string, collateral: QuoteCollateral): Promise<string> {
    const path = this.fileOf(key);
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    await writeJsonAtomic(path, collateralToJson(collateral));
    await this.#trim();
    return path;
  }

  /** @throws AttestError `collateral-malformed` for a key that could leave the folder */
  fileOf(key: string): string {
    if (!KEY.test(key))
      throw new AttestError("collateral-malformed", "collateral key: expected lower-case letters, digits and hyphens");
    return join(this.path, `${key}.json`);
  }

  async #trim(): Promise<void> {
    const names = (await readdir(this.path)).filter((name) => name.endsWith(".json"));
    if (names.length <= MAX_FILES) return;
    const dated = await Promise.all(
      names.map(async (name) => ({ name, at: (await stat(join(this.path, name))).mtimeMs })),
    );
    const [oldest] = dated.toSorted((a, b) => a.at - b.at);
    if (oldest !== undefined) await removeIfExists(join(this.path, oldest.name));
  }
}
