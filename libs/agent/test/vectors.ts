import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../../../../shared/vectors/guest/", import.meta.url));

/** Why vector tests cannot run, or false where they can. */
export const skipVectors: string | false = existsSync(folder) ? false : `test vectors are not at ${folder}`;

export const vectorBytes = (name: string): Uint8Array => new Uint8Array(readFileSync(folder + name));
export const vectorJson = <T>(name: string): T => JSON.parse(readFileSync(folder + name, "utf8")) as T;
