import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** Recorded real evidence lies beside the checkout; tests that need it are skipped without it. */
export const VECTORS = resolve(import.meta.dirname, "../../../../shared/vectors/attestation");

/** `skip` option for node:test. */
export const skip: string | false = existsSync(VECTORS) ? false : `no vectors at ${VECTORS}`;

export const vectorBytes = (path: string): Uint8Array => new Uint8Array(readFileSync(join(VECTORS, path)));
export const vectorText = (path: string): string => readFileSync(join(VECTORS, path), "utf8");
export const vectorJson = <T>(path: string): T => JSON.parse(vectorText(path)) as T;
export const vectorNames = (folder: string): string[] => readdirSync(join(VECTORS, folder)).toSorted();
