import type { DocumentKind } from "@dstack/attest";
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

  readonly #daysLeft: () => ReadonlyMap<DocumentKind, number>;
  readonly #collateral = new Gauge({
    name: "dstack_verifier_collateral_left_days",
    help: "Days until the first document of this kind ends, of collateral used within a day",
    labelNames: ["document"],
    registers: [this.#registry],
  });

  constructor(platforms: SeenPlatforms, daysLeft: () => ReadonlyMap<DocumentKind, number>) {
    this.#platforms = platforms;
    this.#daysLeft = daysLeft;
  }

  text(): Promise<string> {
    this.#seen.reset();
    for (const { fmspc, status, count } of this.#platforms.counts()) this.#seen.set({ fmspc, status }, count);
    this.#collateral.reset();
    for (const [document, days] of this.#daysLeft()) this.#collateral.set({ document }, days);
    return this.#registry.metrics();
  }
}
