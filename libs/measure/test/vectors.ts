import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../../../../shared/vectors/attestation");

/** Give this to a test's `skip`: false when the vectors are beside the checkout. */
export const vectorsMissing: string | false = existsSync(root) ? false : `no test vectors at ${root}`;

export const vectorBytes = (name: string): Uint8Array => new Uint8Array(readFileSync(join(root, name)));

export function vectorJson<Shape>(name: string): Shape {
  return JSON.parse(readFileSync(join(root, name), "utf8")) as Shape;
}
