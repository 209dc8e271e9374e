import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const vectorsRoot: string = resolve(import.meta.dirname, "../../../../shared/vectors/attestation");

/** Give this to a test's `skip`: false when the vectors are beside the checkout. */
export const vectorsMissing: string | false = existsSync(vectorsRoot) ? false : `no test vectors at ${vectorsRoot}`;

export const vectorBytes = (name: string): Uint8Array => new Uint8Array(readFileSync(join(vectorsRoot, name)));

export function vectorJson<Shape>(name: string): Shape {
  return JSON.parse(readFileSync(join(vectorsRoot, name), "utf8")) as Shape;
}
