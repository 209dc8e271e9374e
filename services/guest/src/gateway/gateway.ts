import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { runGatewayChecker } from "./gateway-checker.ts";
import { gatewayClient, type GatewayClient, type GatewayClientOptions } from "./gateway-registration.ts";
import type { HostLink } from "../host/host-link.ts";

/**
 * Registers at the gateway beside the rest of the boot and keeps the tunnel alive afterwards.
 * An app without its gateway runs, reachable from its host alone; the host is told, and told
 * again once it is over.
 */
export function startGateway(
  options: GatewayClientOptions,
  host: HostLink,
  stopping: AbortSignal,
  cleanups: (() => Promise<void>)[],
): void {
  const degraded = (error: unknown): void => {
    const text = `dstack-gateway registration failed, the app has no ingress route: ${errorChain(error)}`;
    options.log.warn(text);
    host.notify("boot.error", text);
  };
  let client: GatewayClient;
  try {
    client = gatewayClient(options);
  } catch (error) {
    degraded(error); // Misconfigured: asking again would change nothing.
    return;
  }
  cleanups.push(() => client.close());
  const onRecovered = (): void => {
    options.log.info("registered at the gateway after all");
    host.notify("boot.error", "");
  };
  keepRegistered({ client, degraded, onRecovered, log: options.log, signal: stopping }).catch((error: unknown) =>
    options.log.error({ error: errorChain(error) }, "the gateway checker ended"),
  );
}

export interface KeepRegisteredOptions {
  readonly client: GatewayClient;
  /** Told once when the first registration fails. */
  readonly degraded: (error: unknown) => void;
  /** Told once when a later one succeeds. */
  readonly onRecovered: () => void;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Seconds; for tests. */
  readonly now?: () => number;
  readonly pause?: (signal: AbortSignal) => Promise<void>;
}

/** Registers, and goes on keeping the tunnel alive until stopped, however the first attempt went. */
export async function keepRegistered(options: KeepRegisteredOptions): Promise<void> {
  let registered = true;
  try {
    await options.client.register({ force: true });
    options.log.info("registered at the gateway");
  } catch (error) {
    registered = false;
    options.degraded(error);
  }
  await runGatewayChecker({ ...options, registered });
}
