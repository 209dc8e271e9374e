import { readFile } from "node:fs/promises";

/** The file's bytes, or undefined where there is no such file. Other errors are thrown. */
export async function readIfExists(path: string): Promise<Uint8Array | undefined> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** As `readIfExists`, decoded as UTF-8. */
export async function readTextIfExists(path: string): Promise<string | undefined> {
  const bytes = await readIfExists(path);
  return bytes === undefined ? undefined : new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}
