import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../../../../shared/vectors");

/** Parsed vector file, or undefined with the reason to skip where the vectors are not beside the checkout. */
export function vectors<T>(
  path: string,
): { readonly data: T; readonly skip: false } | { readonly data: undefined; readonly skip: string } {
  const file = join(ROOT, path);
  return existsSync(file)
    ? { data: JSON.parse(readFileSync(file, "utf8")) as T, skip: false }
    : { data: undefined, skip: `no vectors at ${file}` };
}
