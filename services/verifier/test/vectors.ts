import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

// The vectors lie beside the checkout; where they are absent the tests that need them say so.
const VECTORS = join(import.meta.dirname, "../../../../shared/vectors/attestation");

export const withoutVectors: string | false = existsSync(VECTORS)
  ? false
  : "the attestation vectors are not beside this checkout";
export const vector = (path: string): Buffer => readFileSync(join(VECTORS, path));
export const jsonVector = (path: string): Record<string, unknown> =>
  JSON.parse(vector(path).toString("utf8")) as Record<string, unknown>;
export const gatewayVector = (path: string): string => readFileSync(join(VECTORS, "../gateway", path), "utf8");
