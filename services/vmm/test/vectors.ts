import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const FOLDER = join(import.meta.dirname, "../../../../shared/vectors/vmm");

/** Set where the vectors are not beside the checkout: a reason for `skip`. */
export const noVectors = existsSync(FOLDER) ? false : "no vectors beside the checkout";

export const vectorPath = (name: string): string => join(FOLDER, name);

export function readVector<T>(name: string): T {
  return JSON.parse(readFileSync(vectorPath(name), "utf8")) as T;
}
