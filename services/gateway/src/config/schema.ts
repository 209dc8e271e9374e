/** Keys of gateway.toml with their defaults: those of 0.5.5, 0.5.6 and 0.6.0 load alike. */
import { z } from "zod";
import { parseNetwork } from "@dstack/wireguard";
import { durationMs, portRange } from "./units.ts";

/** Turns a parser that throws into a check with the parser's text. */
function parsed<T, I extends z.ZodType>(
  input: I,
  parse: (value: z.output<I>) => T,
): z.ZodPipe<I, z.ZodTransform<T, z.output<I>>> {
  return input.pipe(
    z.transform((value: z.output<I>, context) => {
      try {
        return parse(value);
      } catch (error) {
        context.issues.push({ code: "custom", message: (error as Error).message, input: value });
        return z.NEVER;
      }
    }),
  ) as unknown as z.ZodPipe<I, z.ZodTransform<T, z.output<I>>>;
}

const duration = (fallback: string) => parsed(z.string().default(fallback), durationMs);
const network = (fallback: string) => parsed(z.string().default(fallback), parseNetwork);
const port = (fallback: number) => z.int().min(1).max(65_535).default(fallback);
const listener = { address: z.string().optional(), port: z.int().min(0).max(65_535).optional() };

const tls = z.object({
  key: z.string(),
  certs: z.string(),
  mutual: z.object({ ca_certs: z.string(), mandatory: z.boolean().default(false) }),
});

const attestation = z.object({
  insecure_allow_external_trust_anchors: z.boolean().default(false),
  urls: z.object({ pccs: z.string().optional(), amd_kds: z.string().optional() }).prefault({}),
  root_ca: z.record(z.string(), z.string()).default({}),
});

const admin = z.object({
  enabled: z.boolean().default(false),
  ...listener,
  auth_token: z.string().default(""),
  admin_token: z.string().default(""),
  htpasswd_file: z.string().default(""),
  insecure_no_auth: z.boolean().default(false),
});

const debug = z.object({
  insecure_enable_debug_rpc: z.boolean().default(false),
  insecure_skip_attestation: z.boolean().default(false),
  insecure_localhost_backend: z.boolean().default(false),
  key_file: z.string().default(""),
  ...listener,
});

const wg = z.object({
  public_key: z.string().default(""),
  private_key: z.string().default(""),
  listen_port: port(51_820),
  ip: network("10.0.0.1/24"),
  reserved_net: z.array(parsed(z.string(), parseNetwork)).default([parseNetwork("10.0.0.1/32")]),
  client_ip_range: network("10.0.0.0/25"),
  config_path: z.string().default("/etc/wireguard/wg0.conf"),
  interface: z.string().default("wg0"),
  endpoint: z.string().default("10.0.2.2:51820"),
  backend: z.enum(["auto", "kernel", "userspace"]).default("auto"),
});

const timeouts = z.object({
  connect: duration("5s"),
  handshake: duration("5s"),
  cache_top_n: duration("30s"),
  handshake_stale: duration("30m"),
  data_timeout_enabled: z.boolean().default(true),
  idle: duration("10m"),
  total: duration("5h"),
});

const portPolicyFetch = z.object({
  timeout: duration("10s"),
  max_retries: z.int().min(0).max(100).default(5),
  backoff_initial: duration("1s"),
  backoff_max: duration("30s"),
});

const proxy = z.object({
  listen_addr: z.string().default("0.0.0.0"),
  listen_port: parsed(z.union([z.number(), z.string()]).default(8443), portRange),
  base_domain: z.string().optional(),
  cert_chain: z.string().optional(),
  cert_key: z.string().optional(),
  external_port: port(443),
  agent_port: port(8090).optional(),
  tappd_port: port(8090).optional(),
  tls_versions: z
    .array(z.enum(["1.2", "1.3"]))
    .min(1)
    .default(["1.2"]),
  connect_top_n: z.int().min(0).max(64).default(3),
  app_address_ns_prefix: z.string().default("_dstack-app-address"),
  localhost_enabled: z.boolean().default(false),
  max_connections_per_app: z.int().min(0).default(2000),
  max_connections: z.int().min(1).default(50_000),
  inbound_pp_enabled: z.boolean().default(false),
  port_policy_fetch: portPolicyFetch.prefault({}),
  timeouts: timeouts.prefault({}),
});

const recycle = z.object({ enabled: z.boolean().default(true), interval: duration("5m"), timeout: duration("10h") });

const sync = z.object({
  enabled: z.boolean().default(false),
  node_id: z.int().min(0).max(0xffff_ffff).default(0),
  my_url: z.string().default("https://localhost:8011"),
  data_dir: z.string().optional(),
});

export const gatewaySchema = z.object({
  ident: z.string().default("dstack Gateway"),
  log_level: z.string().default("info"),
  ...listener,
  tls,
  core: z
    .object({
      state_path: z.string().default("./gateway-state.json"),
      rpc_domain: z.string().default(""),
      run_in_dstack: z.boolean().default(true),
      pccs_url: z.string().optional(),
      attestation: attestation.prefault({}),
      auth: z
        .object({
          enabled: z.boolean().default(false),
          url: z.string().default("http://localhost/app-auth"),
          timeout: duration("5s"),
        })
        .prefault({}),
      admin: admin.prefault({}),
      debug: debug.prefault({}),
      wg: wg.prefault({}),
      proxy: proxy.prefault({}),
      certbot: z.record(z.string(), z.unknown()).default({}),
      recycle: recycle.prefault({}),
      sync: sync.prefault({}),
    })
    .prefault({}),
});

export type RawGatewayConfig = z.output<typeof gatewaySchema>;

/** Keys of released configurations that tune what is built differently here. */
export const SILENT_KEYS: readonly string[] = [
  "workers",
  "max_blocking",
  "temp_dir",
  "keep_alive",
  "core.kms_url",
  "core.set_ulimit",
  "core.recycle.node_timeout",
  "core.proxy.tls_crypto_provider",
  "core.proxy.workers",
  "core.proxy.thread_per_core",
  "core.proxy.connection_rebalance",
  "core.proxy.app_address_ns_compat",
  "core.proxy.app_address_dns_servers",
  "core.proxy.buffer_size",
  "core.proxy.tcp_splice",
  "core.proxy.timeouts.write",
  "core.proxy.timeouts.shutdown",
  "core.proxy.timeouts.pp_header",
  "core.proxy.timeouts.dns_resolve",
  "core.proxy.ktls",
  "core.sync.interval",
  "core.sync.timeout",
  "core.sync.broadcast_interval",
  "core.sync.bootnode",
  "core.sync.persist_interval",
  "core.sync.sync_connections_enabled",
  "core.sync.sync_connections_interval",
];
