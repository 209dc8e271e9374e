import type { Fleet } from "../fleet/fleet.ts";
import type { Platforms } from "./platforms.ts";

/**
 * What a scraper is told, in the Prometheus text form: the VMs by state, and, where the configuration names a
 * collateral server, how current the platform is. A scrape waits for no guest: it starts a round, the next one tells.
 */
export async function metricsText(fleet: Pick<Fleet, "all">, platforms: Platforms | undefined): Promise<string> {
  const { Gauge, Registry } = await import("prom-client");
  const registry = new Registry();
  const registers = [registry];
  const vms = new Gauge({ name: "dstack_vmm_vms", help: "VMs by state", labelNames: ["state"], registers });
  for (const [state, those] of Map.groupBy(fleet.all(), (vm) => vm.state.kind)) vms.set({ state }, those.length);
  if (platforms !== undefined) {
    const seen = new Gauge({
      name: "dstack_vmm_platforms_seen",
      help: "Platforms whose evidence held within a day, by family and by the TCB status of the last verdict",
      labelNames: ["fmspc", "status"],
      registers,
    });
    for (const { fmspc, status, count } of platforms.counts()) seen.set({ fmspc, status }, count);
    const left = new Gauge({
      name: "dstack_vmm_collateral_left_days",
      help: "Days until the first document of this kind ends, of collateral used within a day",
      labelNames: ["document"],
      registers,
    });
    for (const [document, days] of platforms.daysLeft()) left.set({ document }, days);
  }
  return registry.metrics();
}
