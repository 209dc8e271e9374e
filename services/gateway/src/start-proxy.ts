import { acmeInfo, acmeInfoJson } from "./node-info.ts";
import type { OpenGateway } from "./open-gateway.ts";
import type { Instance } from "./registration/instance.ts";
import { httpAnswers } from "./proxy/http-answers.ts";
import { ProxyListener } from "./proxy/proxy-listener.ts";
import { resolveTarget, type ResolverOptions } from "./proxy/resolve-target.ts";
import { Watchdog } from "./proxy/watchdog.ts";

export interface Proxy {
  readonly ports: readonly number[];
  /** Stops accepting, and lets connections end for a moment. */
  close(): Promise<void>;
}

const DRAIN_MS = 1_000;
/** How long after it registered, or after our start, a CVM's first handshake is worth waiting for. */
const SETTLING_MS = 30_000;

/** The proxy of a gateway that knows its CVMs. @throws the system's error where a port is taken */
export async function startProxy(gateway: OpenGateway): Promise<Proxy> {
  const { config, certificates, counters, now, log } = gateway;
  const { proxy } = config.raw.core;
  const { timeouts } = proxy;
  const answers = httpAnswers({
    acmeInfo: () => acmeInfoJson(acmeInfo(config.staticCertificate?.baseDomain ?? "", certificates.current)),
  });
  const watchdog = new Watchdog({
    idleMs: timeouts.data_timeout_enabled ? timeouts.idle : Number.POSITIVE_INFINITY,
    totalMs: timeouts.total,
    now,
  });
  const resolver = resolverOf(gateway);
  const listener = new ProxyListener({
    host: proxy.listen_addr,
    ports: proxy.listen_port,
    maxConnections: proxy.max_connections,
    certificates,
    counters,
    answers,
    watchdog,
    resolve: (address) => resolveTarget(address, resolver),
    helloTimeoutMs: timeouts.handshake,
    tlsTimeoutMs: timeouts.handshake,
    connectTimeoutMs: timeouts.connect,
    log,
    now,
  });
  const close = async (): Promise<void> => {
    watchdog.stop();
    answers.close();
    await listener.close(DRAIN_MS);
  };
  watchdog.start();
  try {
    await listener.start();
  } catch (error) {
    await close();
    throw error;
  }
  return { ports: listener.ports, close };
}

function resolverOf(gateway: OpenGateway): ResolverOptions {
  const { config, registrations, chooser, policies, tunnel, counters, startedAtMs, now } = gateway;
  const { proxy } = config.raw.core;
  return {
    registry: registrations.registry,
    chooser,
    policies,
    refreshHandshakes: () => tunnel.refresh(),
    isSettling: (instance: Instance) => now() - Math.max(instance.registeredAt * 1_000, startedAtMs) < SETTLING_MS,
    now,
    counters,
    maxConnectionsPerApp: proxy.max_connections_per_app,
    connectTimeoutMs: proxy.timeouts.connect,
    localhostBackend: config.localhostBackend,
  };
}
