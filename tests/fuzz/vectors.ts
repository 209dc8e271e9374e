import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const FOLDER = resolve(import.meta.dirname, "../../../shared/vectors/attestation");

/** Recorded real inputs lie beside the checkout; without them the made ones must do. */
export function recorded(...paths: readonly string[]): Uint8Array[] {
  return paths
    .map((path) => join(FOLDER, path))
    .filter((path) => existsSync(path))
    .map((path) => new Uint8Array(readFileSync(path)));
}
