import { recordedVectors } from "../vectors/vector-sets.ts";

/** Recorded real inputs, where they lie beside the checkout; without them the made ones must do. */
export function recorded(...paths: readonly string[]): Uint8Array[] {
  if (recordedVectors === undefined) return [];
  const { bytes, has } = recordedVectors;
  return paths
    .map((path) => `attestation/${path}`)
    .filter(has)
    .map(bytes);
}
