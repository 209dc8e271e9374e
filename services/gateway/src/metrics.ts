import type { DocumentKind } from "@dstack/attest";
import { Counter, Gauge, Registry as MetricsRegistry } from "prom-client";
import type { Environment } from "@dstack/key-folder";
import type { Certificates } from "./proxy/certificates.ts";
import { OUTCOMES, type ProxyCounters } from "./proxy/proxy-counters.ts";

export interface GatewayFacts {
  readonly counters: ProxyCounters;
  readonly certificates: Certificates;
  readonly registered: () => number;
  readonly online: () => number;
  readonly tunnelHealthy: () => boolean;
  readonly environment: Environment;
  readonly insecureSettings: readonly string[];
  /** Of collateral in use; undefined where no evidence is verified. */
  readonly collateralDaysLeft: (() => ReadonlyMap<DocumentKind, number>) | undefined;
}

export interface GatewayMetrics {
  readonly registrations: (outcome: "accepted" | "refused") => void;
  readonly wireGuardFailure: () => void;
  /** The Prometheus text form. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
  /** Until this is given, only what is counted here shows. */
  readonly observe: (facts: GatewayFacts) => void;
}

export function gatewayMetrics(): GatewayMetrics {
  const registry = new MetricsRegistry();
  const registers = [registry];
  const registrations = new Counter({
    name: "dstack_gateway_registrations_total",
    help: "RegisterCvm calls by outcome",
    labelNames: ["outcome"],
    registers,
  });
  const failures = new Counter({
    name: "dstack_gateway_wireguard_failures_total",
    help: "Times the WireGuard device could not be brought to its configuration",
    registers,
  });
  for (const outcome of ["accepted", "refused"]) registrations.inc({ outcome }, 0);
  return {
    registrations: (outcome) => registrations.inc({ outcome }),
    wireGuardFailure: () => failures.inc(),
    text: () => registry.metrics(),
    contentType: registry.contentType,
    observe: (facts) => observe(registry, facts),
  };
}

function observe(registry: MetricsRegistry, facts: GatewayFacts): void {
  const { counters, certificates } = facts;
  gauge("dstack_gateway_registered_instances", "Registered CVMs", () => facts.registered());
  gauge("dstack_gateway_online_instances", "Registered CVMs with a recent WireGuard handshake", () => facts.online());
  gauge("dstack_gateway_wireguard_healthy", "1 while the device carries what is registered", () =>
    facts.tunnelHealthy() ? 1 : 0,
  );
  gauge(
    "dstack_gateway_certificate_expiry_seconds",
    "End of the proxy certificate's validity as Unix time, 0 without a real one",
    () => (certificates.current?.fromFiles === true ? certificates.current.leaf.validToDate.getTime() / 1_000 : 0),
  );
  labelled("dstack_gateway_connections", "Open proxy connections", "state", () => [
    ["open", counters.open],
    ["relaying", counters.relaying],
  ]);
  labelled("dstack_gateway_connections_total", "Proxy connections by what became of them", "outcome", () =>
    OUTCOMES.map((outcome) => [outcome, counters.outcomes[outcome]]),
  );
  labelled("dstack_gateway_relayed_bytes_total", "Bytes of ended connections", "direction", () => [
    ["from_client", counters.fromClientBytes],
    ["to_client", counters.toClientBytes],
  ]);
  labelled(
    "dstack_gateway_collateral_left_days",
    "Days until the first document of this kind ends, of collateral used within a day",
    "document",
    () => [...(facts.collateralDaysLeft?.() ?? [])],
  );
  const environment = new Gauge({
    name: "dstack_gateway_environment_info",
    help: "1, with the mark of the key folder and whether insecure settings are on",
    labelNames: ["environment", "insecure"],
    registers: [registry],
  });
  environment.set({ environment: facts.environment, insecure: String(facts.insecureSettings.length > 0) }, 1);

  function gauge(name: string, help: string, read: () => number): void {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read());
        },
      }),
    );
  }

  function labelled(
    name: string,
    help: string,
    label: string,
    read: () => readonly (readonly [string, number])[],
  ): void {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers: [],
        collect() {
          this.reset();
          for (const [value, count] of read()) this.set({ [label]: value }, count);
        },
      }),
    );
  }
}
