/**
 * What gateway.toml makes of this gateway.
 * In: the files, the environment. Out: one checked value; what nothing comes of is said in the log.
 * The keys stand in schema.ts, those of the reference that are not acted on in unread-keys.ts.
 * Keys that only make sense together are checked together here.
 * Never: a setting that feels like protection and has no effect.
 */
import { AGENT_PORT } from "@dstack/proto/wire";
import { dirname, join } from "node:path";
import { loadConfig, parseListen, warnOf } from "@dstack/config";
import { asRefusal } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { Listen } from "@dstack/rpc";
import {
  checkInterfaceName,
  containsAddress,
  containsNetwork,
  formatEndpoint,
  parseEndpoint,
  parseWireGuardKey,
  publicKeyOf,
  type Ipv4Network,
  type WireGuardKey,
} from "@dstack/wireguard";
import { GatewayError } from "../errors.ts";
import { gatewaySchema, PROTECTING_KEYS, type RawGatewayConfig } from "./schema.ts";
import { UNREAD_KEYS } from "./unread-keys.ts";

export interface WireGuardSettings {
  readonly privateKey: WireGuardKey;
  readonly publicKey: WireGuardKey;
  readonly listenPort: number;
  /** Own address with the prefix of the network that all nodes share. */
  readonly ip: Ipv4Network;
  readonly reserved: readonly Ipv4Network[];
  readonly pool: Ipv4Network;
  readonly configPath: string;
  readonly interface: string;
  /** What CVMs dial, `host:port`. */
  readonly endpoint: string;
  readonly backend: "auto" | "kernel" | "userspace";
}

export interface StaticCertificate {
  readonly baseDomain: string;
  readonly certChain: string;
  readonly certKey: string;
}

export interface GatewayConfig {
  readonly raw: RawGatewayConfig;
  readonly main: Listen;
  readonly admin: { readonly listen: Listen; readonly token: string | undefined } | undefined;
  readonly wireGuard: WireGuardSettings;
  readonly staticCertificate: StaticCertificate | undefined;
  readonly agentPort: number;
  readonly skipAttestation: boolean;
  readonly dataDir: string;
  readonly localhostBackend: boolean;
  /** Insecure settings in force, as the operator would name them. */
  readonly insecureSettings: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Loads gateway.toml and checks what its keys mean together.
 * @throws ConfigError, GatewayError `config-invalid`
 */
export async function loadGatewayConfig(
  file: string | undefined,
  env: Environment,
  log: Logger,
): Promise<GatewayConfig> {
  const loaded = await loadConfig({
    name: "gateway",
    file,
    schema: gatewaySchema,
    unread: UNREAD_KEYS,
    protects: PROTECTING_KEYS,
  });
  warnOf(log, loaded);
  return interpretConfig(loaded.config, env);
}

/** @throws GatewayError `config-invalid` */
export function interpretConfig(raw: RawGatewayConfig, env: Environment): GatewayConfig {
  const { core } = raw;
  if (Object.keys(core.attestation.root_ca).length > 0 && !core.attestation.insecure_allow_external_trust_anchors) {
    throw invalid(
      "core.attestation.root_ca names trust anchors: these need core.attestation.insecure_allow_external_trust_anchors = true",
    );
  }
  return {
    raw,
    main: listen(raw, "127.0.0.1", 8010, "address"),
    admin: core.admin.enabled ? adminSettings(core.admin, env) : undefined,
    wireGuard: wireGuardSettings(core.wg),
    staticCertificate: staticCertificate(core.proxy),
    agentPort: core.proxy.agent_port ?? core.proxy.tappd_port ?? AGENT_PORT,
    skipAttestation: core.debug.insecure_skip_attestation || !core.run_in_dstack,
    dataDir: core.sync.data_dir ?? join(dirname(core.wg.config_path), "gateway-data"),
    localhostBackend: core.debug.insecure_localhost_backend || core.proxy.localhost_enabled,
    insecureSettings: insecureSettings(core),
  };
}

/**
 * The three checks of the wireguard section, with the reference's texts.
 * @throws GatewayError `config-invalid`
 */
export function checkNetworks(ip: Ipv4Network, reserved: readonly Ipv4Network[], pool: Ipv4Network): void {
  if (!reserved.every((network) => containsNetwork(ip, network)))
    throw invalid("core.wg.reserved_net: Reserved net is not in the network of core.wg.ip");
  if (!reserved.some((network) => containsAddress(network, ip.address)))
    throw invalid("core.wg.ip: Wg peer IP is not in the reserved net");
  if (!containsNetwork(ip, pool))
    throw invalid("core.wg.client_ip_range: Client IP range is not in the network of core.wg.ip");
}

function wireGuardSettings(wg: RawGatewayConfig["core"]["wg"]): WireGuardSettings {
  checkNetworks(wg.ip, wg.reserved_net, wg.client_ip_range);
  const pair = wg.private_key === "" ? undefined : parseWireGuardKey(wg.private_key, "core.wg.private_key");
  if (pair === undefined)
    throw invalid(
      `core.wg.private_key is empty: put a key there, for instance the one that this line makes: wg genkey`,
    );
  const publicKey = publicKeyOf(pair);
  if (wg.public_key !== "" && wg.public_key !== publicKey)
    throw invalid(`core.wg.public_key does not belong to core.wg.private_key, whose public key is ${publicKey}`);
  return {
    privateKey: pair,
    publicKey,
    listenPort: wg.listen_port,
    ip: wg.ip,
    reserved: wg.reserved_net,
    pool: wg.client_ip_range,
    configPath: wg.config_path,
    interface: checkInterfaceName(wg.interface),
    endpoint: formatEndpoint(parseEndpoint(wg.endpoint)),
    backend: wg.backend,
  };
}

function staticCertificate(proxy: RawGatewayConfig["core"]["proxy"]): StaticCertificate | undefined {
  const { base_domain: baseDomain, cert_chain: certChain, cert_key: certKey } = proxy;
  if (baseDomain === undefined && certChain === undefined && certKey === undefined) return undefined;
  if (baseDomain === undefined || certChain === undefined || certKey === undefined) {
    throw invalid("core.proxy: base_domain, cert_chain and cert_key are set together or not at all");
  }
  const domain = baseDomain.toLowerCase().replace(/\.$/, "").replace(/^\*\./, "");
  if (!/^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/.test(domain))
    throw invalid(`core.proxy.base_domain "${baseDomain.slice(0, 80)}" is no domain name`);
  return { baseDomain: domain, certChain, certKey };
}

function adminSettings(
  admin: RawGatewayConfig["core"]["admin"],
  env: Environment,
): NonNullable<GatewayConfig["admin"]> {
  const token = [admin.auth_token, admin.admin_token, env["DSTACK_GATEWAY_ADMIN_TOKEN"], env["ADMIN_API_TOKEN"]]
    .map((text) => text?.trim() ?? "")
    .find((text) => text !== "");
  if (token === undefined && !admin.insecure_no_auth) {
    throw invalid(
      "core.admin: admin API is enabled but has no token; set core.admin.auth_token or DSTACK_GATEWAY_ADMIN_TOKEN",
    );
  }
  return {
    listen: listen(admin, "127.0.0.1", 8011, "core.admin.address"),
    token: admin.insecure_no_auth ? undefined : token,
  };
}

/** An address may be an IP beside a `port` key, `ip:port`, or `unix:<path>`. */
function listen(
  table: { address?: string | undefined; port?: number | undefined },
  host: string,
  port: number,
  key: string,
): Listen {
  const listening = asRefusal(
    () => parseListen(table.address ?? host, table.port ?? port),
    (cause) => invalid(`${key} ${cause.message}`),
  );
  return "path" in listening ? { ...listening, mode: 0o600 } : listening;
}

function insecureSettings(core: RawGatewayConfig["core"]): string[] {
  const settings: readonly [boolean, string][] = [
    [core.debug.insecure_skip_attestation, "core.debug.insecure_skip_attestation = true"],
    [!core.run_in_dstack, "core.run_in_dstack = false"],
    [
      core.attestation.insecure_allow_external_trust_anchors,
      "core.attestation.insecure_allow_external_trust_anchors = true",
    ],
    [core.admin.enabled && core.admin.insecure_no_auth, "core.admin.insecure_no_auth = true"],
    [core.debug.insecure_localhost_backend, "core.debug.insecure_localhost_backend = true"],
    [core.proxy.localhost_enabled, "core.proxy.localhost_enabled = true"],
  ];
  return settings.filter(([on]) => on).map(([, name]) => name);
}

const invalid = (message: string): GatewayError => new GatewayError("config-invalid", message);
