/**
 * Writes the part of our own test data (tests/vectors) that is computed, by our own code from inputs of our own:
 * `node scripts/vectors/main.ts`; with `--signed` also the few files that carry signatures with a random part. What is
 * small enough to be worked out by hand is typed in there, and stays.
 * A test compares what is committed with what this prints, so that neither changes alone.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROOT } from "../test-kinds.ts";
import { attestationVectors } from "./attestation.ts";
import { contractVectors } from "./contracts.ts";
import { gatewayVectors } from "./gateway.ts";
import { guestVectors } from "./guest.ts";
import { kmsVectors } from "./kms.ts";
import { signedVectors } from "./signed.ts";
import type { Vectors } from "./vectors.ts";
import { vmmVectors } from "./vmm.ts";

export const VECTORS = join(ROOT, "tests", "vectors");

/** Every file that comes out the same each time, as bytes by its path. */
export function computedVectors(): ReadonlyMap<string, Uint8Array> {
  return asBytes([
    attestationVectors(),
    contractVectors(),
    gatewayVectors(),
    guestVectors(),
    kmsVectors(),
    vmmVectors(),
  ]);
}

function asBytes(all: readonly Vectors[]): Map<string, Uint8Array> {
  return new Map(all.flatMap((files) => Object.entries(files).map(([path, value]) => [path, bytesOf(value)] as const)));
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  return new Uint8Array(Buffer.from(typeof value === "string" ? value : `${JSON.stringify(value, null, 1)}\n`));
}

if (import.meta.main) {
  const signed = process.argv.includes("--signed") ? asBytes([signedVectors()]) : [];
  for (const [path, bytes] of [...computedVectors(), ...signed]) {
    mkdirSync(dirname(join(VECTORS, path)), { recursive: true });
    writeFileSync(join(VECTORS, path), bytes);
  }
}
