import { createHash } from "node:crypto";
import type { ImageMetadata } from "@dstack/image";
import type { VmMeasurement } from "@dstack/measure";

export interface KnownMeasurement {
  readonly expected: VmMeasurement;
  readonly metadata: ImageMetadata;
}

const MAX_KEPT = 64;

/**
 * What images measured to with a VM configuration, least recently used out first. A fact about image and
 * configuration, never a verdict: every quote is compared with it anew.
 */
export class KnownMeasurements {
  readonly #kept = new Map<string, KnownMeasurement>();

  /** By the exact text of the configuration, which names the image by its hash. */
  get(vmConfig: string): KnownMeasurement | undefined {
    const key = keyOf(vmConfig);
    const known = this.#kept.get(key);
    if (known === undefined) return undefined;
    this.#kept.delete(key);
    this.#kept.set(key, known);
    return known;
  }

  keep(vmConfig: string, measurement: KnownMeasurement): void {
    this.#kept.set(keyOf(vmConfig), measurement);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > MAX_KEPT && oldest.done === false) this.#kept.delete(oldest.value);
  }
}

const keyOf = (vmConfig: string): string => createHash("sha256").update(vmConfig).digest("hex");
