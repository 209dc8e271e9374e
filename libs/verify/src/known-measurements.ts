import { createHash } from "node:crypto";
import type { ImageMetadata } from "@dstack/image";
import type { SharedWork } from "@dstack/image/store";
import type { VmMeasurement } from "@dstack/measure";
import type { NotFound, OsImageMethod } from "./os-image-source.ts";

/** What a VM configuration measures to. */
export interface Measured {
  readonly kind: "measured";
  readonly method: OsImageMethod;
  readonly expected: VmMeasurement;
  /** Where the image's files were at hand. */
  readonly metadata?: ImageMetadata;
}

const MAX_KEPT = 64;

/**
 * What VM configurations measure to, least recently used out first; callers that come while one is measured share it.
 * A fact about image and configuration, never a verdict: every quote is compared with it anew.
 */
export class KnownMeasurements {
  readonly #kept = new Map<string, SharedWork<Measured | NotFound>>();

  /** By everything that the measurement depends on: the exact text of the configuration, and what else there is. */
  get(...inputs: readonly string[]): SharedWork<Measured | NotFound> | undefined {
    const key = keyOf(inputs);
    const known = this.#kept.get(key);
    if (known === undefined || known.isGivenUp) return undefined;
    this.#kept.delete(key);
    this.#kept.set(key, known);
    return known;
  }

  /** An image that was not found, or that cannot be measured, is forgotten at once. */
  keep(measured: SharedWork<Measured | NotFound>, ...inputs: readonly string[]): void {
    const key = keyOf(inputs);
    this.#kept.delete(key);
    this.#kept.set(key, measured);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > MAX_KEPT && oldest.done === false) this.#kept.delete(oldest.value);
    const drop = (): void => {
      if (this.#kept.get(key) === measured) this.#kept.delete(key);
    };
    measured.result.then((found) => {
      if (found.kind !== "measured") drop();
    }, drop);
  }

  forget(): void {
    this.#kept.clear();
  }
}

function keyOf(inputs: readonly string[]): string {
  const hash = createHash("sha256");
  for (const input of inputs) hash.update(`${input.length}:${input}`);
  return hash.digest("base64");
}
