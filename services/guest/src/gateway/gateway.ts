/**
 * gateway/ keeps the app's way in from the gateway.
 * In: the gateways that the host names, the ids of them that the KMS names, certificates of the app.
 * Out: a WireGuard tunnel and its packet filter, kept alive; word to the host when there is none.
 * Never: a gateway of another id than the KMS named; a boot that waits for one or fails with it.
 */
import type { CertificateIssuer } from "@dstack/agent";
import { errorChain } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { BootInputs } from "../host/boot-inputs.ts";
import type { HostLink } from "../host/host-link.ts";
import type { AppKeys } from "../keys/app-keys.ts";
import type { BootContext } from "../system/boot-context.ts";
import { runGatewayChecker } from "./gateway-checker.ts";
import { gatewayClient, type GatewayClient } from "./gateway-registration.ts";

export interface StartGatewayOptions {
  readonly inputs: BootInputs;
  readonly keys: AppKeys;
  readonly issuer: CertificateIssuer;
  readonly host: HostLink;
  readonly stopping: AbortSignal;
}

/**
 * Registers at the gateway beside the rest of the boot and keeps the tunnel alive afterwards.
 * An app without its gateway runs, reachable from its host alone; the host is told, and told
 * again once it is over.
 */
export function startGateway(boot: BootContext, options: StartGatewayOptions): void {
  boot.progress("setting up dstack-gateway");
  const { host } = options;
  const log = boot.log.child({ part: "gateway" });
  const degraded = (error: unknown): void => {
    const text = `dstack-gateway registration failed, the app has no ingress route: ${errorChain(error)}`;
    log.warn(text);
    host.notify("boot.error", text);
  };
  const client = usableClient(boot, options, log, degraded);
  if (client === undefined) return;
  boot.onShutdown(() => client.close());
  const onRecovered = (): void => {
    log.info("registered at the gateway after all");
    host.notify("boot.error", "");
  };
  keepRegistered({ client, degraded, onRecovered, log, signal: options.stopping }).catch((error: unknown) =>
    log.error({ error: errorChain(error) }, "the gateway checker ended"),
  );
}

/** None where it is misconfigured: asking again would change nothing. */
function usableClient(
  { paths, run, now }: BootContext,
  { inputs, keys, issuer }: StartGatewayOptions,
  log: Logger,
  degraded: (error: unknown) => void,
): GatewayClient | undefined {
  try {
    return gatewayClient({
      urls: inputs.systemConfig.gatewayUrls,
      gatewayAppId: keys.gatewayAppId,
      caCertificatePem: keys.caCertificatePem,
      portPolicy: inputs.manifest.compose.portPolicy,
      issuer,
      configPath: paths.wireguardConfig,
      run,
      log,
      now,
    });
  } catch (error) {
    degraded(error);
    return undefined;
  }
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
