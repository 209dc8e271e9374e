/**
 * One gateway, from its state to its listeners.
 * In: a configuration that loaded; clock, random, the verifier of evidence. Out: a running gateway.
 * The order: the lock, registrations, WireGuard, the policies of apps, RPC, administration, the proxy.
 * When a step fails, the steps before it are undone; so does the stop, in the reverse order.
 * Never: a proxy before its registrations and its tunnel; two gateways on one data folder.
 */
import type { DocumentKind } from "@dstack/attest";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lockFile } from "@dstack/files";
import { markKeyFolder } from "@dstack/key-folder";
import type { Logger } from "@dstack/log";
import type { GatewayConfig } from "./config/gateway-config.ts";
import type { EvidenceVerifier } from "./identity/client-identity.ts";
import { gatewayMetrics } from "./metrics.ts";
import type { OpenGateway } from "./open-gateway.ts";
import { Certificates } from "./proxy/certificates.ts";
import { InstanceChooser } from "./proxy/instance-chooser.ts";
import { PolicySource } from "./proxy/policy-source.ts";
import { ProxyCounters } from "./proxy/proxy-counters.ts";
import { startProxy } from "./start-proxy.ts";
import { startRecycling } from "./recycle.ts";
import { Registrations } from "./registration/registrations.ts";
import { startAdminListener } from "./rpc/admin-listener.ts";
import { onlineCount } from "./rpc/admin-service.ts";
import { startMainListener, type MainListener } from "./rpc/main-listener.ts";
import { Tunnel } from "./wireguard/tunnel.ts";

export interface GatewayDeps {
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly verifyEvidence: EvidenceVerifier | undefined;
  /** Of the collateral that it verifies with, for the metrics. */
  readonly collateralDaysLeft?: () => ReadonlyMap<DocumentKind, number>;
}

export interface Gateway {
  readonly rpcAddress: string;
  readonly adminAddress: string | undefined;
  readonly proxyPorts: readonly number[];
  /** Reads certificates again; what cannot be used is logged and the old ones stay. */
  reload(): Promise<void>;
  /** Stops accepting, lets connections end, removes the interface. */
  stop(): Promise<void>;
}

type OnStop = (step: () => void | Promise<void>) => void;

const CERTIFICATE_POLL_MS = 30_000;
/** An idle CVM shakes hands every two minutes: anything less would call it dead in between. */
const MIN_HANDSHAKE_STALE_MS = 180_000;

/** @throws GatewayError, KeyFolderError, FileLockError, the system's error; with everything undone */
export async function startGateway(config: GatewayConfig, deps: GatewayDeps): Promise<Gateway> {
  const undo: Parameters<OnStop>[0][] = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).toReversed()) {
      try {
        await step();
      } catch (error) {
        deps.log.error({ error: (error as Error).message }, "clean-up step failed");
      }
    }
  };
  try {
    return { ...(await start(config, deps, (step) => void undo.push(step))), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(config: GatewayConfig, deps: GatewayDeps, onStop: OnStop): Promise<Omit<Gateway, "stop">> {
  const gateway = await openGateway(config, deps, onStop);
  const { certificates, registrations, log } = gateway;
  const { registry, uuid } = registrations;
  const main = await startMain(gateway, deps.verifyEvidence);
  onStop(() => main.close());
  log.info({ address: main.address }, "RPC listener is up");
  const admin =
    config.admin === undefined
      ? undefined
      : await startAdminListener({ ...gateway, admin: config.admin, registry, uuid });
  if (admin !== undefined) onStop(() => admin.close());
  const proxy = await startProxy(gateway);
  onStop(() => proxy.close());
  const poll = setInterval(() => void certificates.reload(), CERTIFICATE_POLL_MS);
  onStop(() => clearInterval(poll));
  onStop(startRecycling(gateway));
  return {
    rpcAddress: main.address,
    adminAddress: admin?.address,
    proxyPorts: proxy.ports,
    reload: () => reloadCertificates(certificates, main, log),
  };
}

/** All that is there before anybody is served. */
async function openGateway(
  config: GatewayConfig,
  { now, log, random, collateralDaysLeft }: GatewayDeps,
  onStop: OnStop,
): Promise<OpenGateway> {
  const { proxy } = config.raw.core;
  const startedAtMs = now();
  const environment = await markKeyFolder(dirname(config.raw.tls.key), { insecureSettings: config.insecureSettings });
  log.info({ environment, insecure: config.insecureSettings }, "gateway is starting");
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  await mkdir(dirname(config.wireGuard.configPath), { recursive: true });
  const lock = await lockFile(join(config.dataDir, "lock"));
  onStop(() => lock.release());

  const metrics = gatewayMetrics();
  const counters = new ProxyCounters();
  const certificates = new Certificates({
    source: config.staticCertificate,
    tlsVersions: proxy.tls_versions,
    log,
    now,
  });
  await certificates.reload();

  let dropChoices: ((appId: string) => void) | undefined;
  const registrations = await Registrations.open({
    dataDir: config.dataDir,
    legacyPath: config.raw.core.state_path,
    pool: config.wireGuard,
    onMembership: (appId) => dropChoices?.(appId),
    applyTunnel: () => tunnel.apply(),
    now,
    log,
  });
  onStop(() => registrations.settle());
  const { registry } = registrations;
  const tunnel = new Tunnel({
    settings: config.wireGuard,
    dataDir: config.dataDir,
    log,
    now,
    instances: () => registry.all(),
    onFailure: metrics.wireGuardFailure,
  });
  const chooser = new InstanceChooser({
    registry,
    latestHandshake: (key) => tunnel.latestHandshake(key),
    now,
    topN: proxy.connect_top_n,
    cacheMs: proxy.timeouts.cache_top_n,
    staleMs: Math.max(proxy.timeouts.handshake_stale, MIN_HANDSHAKE_STALE_MS),
    random,
  });
  dropChoices = (appId) => chooser.drop(appId);
  onStop(() => tunnel.close());
  await tunnel.open();
  const policies = policySource(config, registrations, log);
  onStop(() => policies.close());
  metrics.observe({
    counters,
    certificates,
    registered: () => registry.size,
    online: () => onlineCount(registry, tunnel, Math.floor(now() / 1_000)),
    tunnelHealthy: () => tunnel.healthy,
    environment,
    insecureSettings: config.insecureSettings,
    collateralDaysLeft,
  });
  return {
    config,
    certificates,
    registrations,
    tunnel,
    chooser,
    policies,
    counters,
    metrics,
    startedAtMs,
    now,
    log,
  };
}

/** A CVM's port policy is asked for as soon as it registered, so that its first connection need not wait for it. */
function startMain(gateway: OpenGateway, verifyEvidence: EvidenceVerifier | undefined): Promise<MainListener> {
  const { config, certificates, registrations, policies, metrics, now, log } = gateway;
  return startMainListener({
    config,
    uuid: registrations.uuid,
    verifyEvidence,
    certificates,
    register: async (request) => {
      const instance = await registrations.register(request);
      if (instance.portPolicy === undefined) void policies.fetch(instance);
      return instance;
    },
    countRegistration: metrics.registrations,
    now,
    log,
  });
}

function policySource(config: GatewayConfig, registrations: Registrations, log: Logger): PolicySource {
  const settings = config.raw.core.proxy.port_policy_fetch;
  return new PolicySource({
    agentPort: config.agentPort,
    timeoutMs: settings.timeout,
    maxRetries: settings.max_retries,
    backoffInitialMs: settings.backoff_initial,
    backoffMaxMs: settings.backoff_max,
    log,
    current: (instanceId) => registrations.registry.get(instanceId),
    learned: (instance, policy) => registrations.learnPolicy(instance, policy),
  });
}

async function reloadCertificates(certificates: Certificates, main: MainListener, log: Logger): Promise<void> {
  await certificates.reload();
  try {
    await main.reload();
    log.info("certificates read again");
  } catch (error) {
    log.error({ error: (error as Error).message }, "RPC certificate is not usable, the one in service stays");
  }
}
