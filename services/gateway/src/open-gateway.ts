import type { Logger } from "@dstack/log";
import type { GatewayConfig } from "./config/gateway-config.ts";
import type { GatewayMetrics } from "./metrics.ts";
import type { Certificates } from "./proxy/certificates.ts";
import type { InstanceChooser } from "./proxy/instance-chooser.ts";
import type { PolicySource } from "./proxy/policy-source.ts";
import type { ProxyCounters } from "./proxy/proxy-counters.ts";
import type { Registrations } from "./registration/registrations.ts";
import type { Tunnel } from "./wireguard/tunnel.ts";

/** A gateway that has its state and its tunnel: made once, and what each listener takes what it needs from. */
export interface OpenGateway {
  readonly config: GatewayConfig;
  readonly certificates: Certificates;
  readonly registrations: Registrations;
  readonly tunnel: Tunnel;
  readonly chooser: InstanceChooser;
  readonly policies: PolicySource;
  readonly counters: ProxyCounters;
  readonly metrics: GatewayMetrics;
  /** Milliseconds since the epoch, as `now` gives them. */
  readonly startedAtMs: number;
  readonly now: () => number;
  readonly log: Logger;
}
