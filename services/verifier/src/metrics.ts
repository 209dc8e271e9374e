import type { SeenPlatforms } from "@dstack/verify";
import { Gauge, Registry } from "prom-client";

/** What a scraper is told, in the Prometheus text form. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #platforms: SeenPlatforms;
  readonly #seen = new Gauge({
    name: "dstack_verifier_platforms_seen",
    help: "Platforms whose evidence held within a day, by family and by the TCB status of the last verdict",
    labelNames: ["fmspc", "status"],
    registers: [this.#registry],
  });

  constructor(platforms: SeenPlatforms) {
    this.#platforms = platforms;
  }

  text(): Promise<string> {
    this.#seen.reset();
    for (const { fmspc, status, count } of this.#platforms.counts()) this.#seen.set({ fmspc, status }, count);
    return this.#registry.metrics();
  }
}
