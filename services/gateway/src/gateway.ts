/**
 * One gateway, from its state to its listeners.
 * In: a configuration that loaded; clock, random, the verifier of evidence. Out: a running gateway.
 * The order: the lock, registrations, WireGuard, the policies of apps, RPC, administration, at last the proxy.
 * When a step fails, the steps before it are undone; so does the stop, in the reverse order.
 * Never: a proxy before its registrations and its tunnel; two gateways on one data folder.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lockFile, type FileLock } from "@dstack/files";
import { markKeyFolder } from "@dstack/key-folder";
import type { Logger } from "@dstack/log";
import type { GatewayConfig } from "./config/gateway-config.ts";
import type { EvidenceVerifier } from "./identity/client-identity.ts";
import { gatewayMetrics } from "./metrics.ts";
import { acmeInfo, acmeInfoJson } from "./node-info.ts";
import { Certificates } from "./proxy/certificates.ts";
import { httpAnswers } from "./proxy/http-answers.ts";
import { InstanceChooser } from "./proxy/instance-chooser.ts";
import { PolicySource } from "./proxy/policy-source.ts";
import { ProxyCounters } from "./proxy/proxy-counters.ts";
import { ProxyListener } from "./proxy/proxy-listener.ts";
import { resolveTarget } from "./proxy/resolve-target.ts";
import { Watchdog } from "./proxy/watchdog.ts";
import { staleInstances } from "./recycle.ts";
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

const CERTIFICATE_POLL_MS = 30_000;
const DRAIN_MS = 1_000;
/** How long after it registered, or after our start, a CVM's first handshake is worth waiting for. */
const SETTLING_MS = 30_000;
/** An idle CVM shakes hands every two minutes: anything less would call it dead in between. */
const MIN_HANDSHAKE_STALE_MS = 180_000;

/**
 * Starts everything in order: state, WireGuard, certificates, listeners. When a step fails, the
 * steps before it are undone.
 */
export async function startGateway(config: GatewayConfig, deps: GatewayDeps): Promise<Gateway> {
  const undo: (() => Promise<void>)[] = [];
  const unwind = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse())
      await step().catch((error: unknown) =>
        deps.log.error({ error: (error as Error).message }, "clean-up step failed"),
      );
  };
  try {
    return await start(config, deps, (step) => void undo.push(step), unwind);
  } catch (error) {
    await unwind();
    throw error;
  }
}

async function start(
  config: GatewayConfig,
  deps: GatewayDeps,
  onStop: (step: () => Promise<void>) => void,
  unwind: () => Promise<void>,
): Promise<Gateway> {
  const { log, now } = deps;
  const { proxy, recycle } = config.raw.core;
  const startedAtMs = now();
  const environment = await markKeyFolder(dirname(config.raw.tls.key), { insecureSettings: config.insecureSettings });
  log.info({ environment, insecure: config.insecureSettings }, "gateway is starting");
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  await mkdir(dirname(config.wireGuard.configPath), { recursive: true });
  const lock: FileLock = await lockFile(join(config.dataDir, "lock"));
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

  let chooser: InstanceChooser | undefined;
  const registrations = await Registrations.open({
    dataDir: config.dataDir,
    legacyPath: config.raw.core.state_path,
    pool: config.wireGuard,
    onMembership: (appId) => chooser?.drop(appId),
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
  const choices = new InstanceChooser({
    registry,
    latestHandshake: (key) => tunnel.latestHandshake(key),
    now,
    topN: proxy.connect_top_n,
    cacheMs: proxy.timeouts.cache_top_n,
    staleMs: Math.max(proxy.timeouts.handshake_stale, MIN_HANDSHAKE_STALE_MS),
    random: deps.random,
  });
  chooser = choices;
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
  });

  const main = await startMainListener({
    config,
    uuid: registrations.uuid,
    verifyEvidence: deps.verifyEvidence,
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
  onStop(() => main.close());
  log.info({ address: main.address }, "RPC listener is up");
  const admin =
    config.admin === undefined
      ? undefined
      : await startAdminListener({
          config,
          admin: config.admin,
          uuid: registrations.uuid,
          registry,
          tunnel,
          counters,
          metrics,
          now,
          log,
        });
  if (admin !== undefined) onStop(() => admin.close());

  const answers = httpAnswers({
    acmeInfo: () => acmeInfoJson(acmeInfo(config.staticCertificate?.baseDomain ?? "", certificates.current)),
  });
  const watchdog = new Watchdog({
    idleMs: proxy.timeouts.data_timeout_enabled ? proxy.timeouts.idle : Number.POSITIVE_INFINITY,
    totalMs: proxy.timeouts.total,
    now,
  });
  const listener = new ProxyListener({
    host: proxy.listen_addr,
    ports: proxy.listen_port,
    maxConnections: proxy.max_connections,
    certificates,
    counters,
    answers,
    watchdog,
    resolve: (address) =>
      resolveTarget(address, {
        registry,
        chooser: choices,
        policies,
        refreshHandshakes: () => tunnel.refresh(),
        isSettling: (instance) => now() - Math.max(instance.registeredAt * 1_000, startedAtMs) < SETTLING_MS,
        now,
        counters,
        maxConnectionsPerApp: proxy.max_connections_per_app,
        connectTimeoutMs: proxy.timeouts.connect,
        localhostBackend: config.localhostBackend,
      }),
    helloTimeoutMs: proxy.timeouts.handshake,
    tlsTimeoutMs: proxy.timeouts.handshake,
    connectTimeoutMs: proxy.timeouts.connect,
    log,
    now,
  });
  onStop(async () => {
    watchdog.stop();
    answers.close();
    await listener.close(DRAIN_MS);
  });
  watchdog.start();
  await listener.start();

  const reload = (): Promise<void> => reloadCertificates(certificates, main, log);
  const timers = [setInterval(() => void certificates.reload(), CERTIFICATE_POLL_MS)];
  if (recycle.enabled && Number.isFinite(recycle.timeout)) {
    const sweep = async (): Promise<void> => {
      await tunnel.refresh();
      registrations.remove(
        staleInstances(registry.all(), {
          nowMs: now(),
          startedAtMs,
          timeoutMs: recycle.timeout,
          latestHandshake: (key) => tunnel.latestHandshake(key),
        }),
      );
    };
    timers.push(setInterval(() => void sweep(), Math.min(recycle.interval, 2 ** 31 - 1)));
  }
  onStop(async () => timers.forEach((timer) => clearInterval(timer)));
  return { rpcAddress: main.address, adminAddress: admin?.address, proxyPorts: listener.ports, reload, stop: unwind };
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
