/**
 * The keys of gateway.toml that this gateway reads, with their defaults and what each is for: those
 * of 0.5.5, 0.5.6 and 0.6.0 load alike. The page docs/reference/gateway.md is printed from here.
 * Keys that are taken and not acted on stand in unread-keys.ts.
 */
import { oneOrMore } from "@dstack/config";
import { AGENT_PORT } from "@dstack/proto/wire";
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

const text = z.string();
const flag = z.boolean().default(false);
const durationText = text.meta({ title: "duration" });
const duration = (fallback: string) => parsed(durationText.default(fallback), durationMs);
const networkText = text.meta({ title: "network, such as 10.0.0.0/24" });
const network = (fallback: string) => parsed(networkText.default(fallback), parseNetwork);
const portNumber = z.int().min(1).max(65_535).meta({ title: "port" });
const port = (fallback: number) => portNumber.default(fallback);
const file = text.meta({ title: "path" });

const ADDRESS = "an address, `ADDRESS:PORT` or `unix:PATH`";
const listener = (address: string, fallback: number) => ({
  address: text.optional().describe(`Where it listens: ${ADDRESS}. Without it ${address}`),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .meta({ title: "port" })
    .optional()
    .describe(`Its port, where \`address\` names none. Without it ${fallback}`),
});

const tls = z.object({
  key: file.describe(
    "Private key of the RPC listener, PEM. Its folder is marked development or production at the first start",
  ),
  certs: file.describe("Certificate chain of the RPC listener, PEM: leaf, app CA, root CA of the KMS"),
  mutual: z.object({
    ca_certs: file.describe("Root CA of the KMS, PEM: the certificates of CVMs that register must lead to it"),
  }),
});

const pccsUrls = oneOrMore(text, "http or https URL");
const root = file.optional();
const attestation = z.object({
  insecure_allow_external_trust_anchors: flag.describe(
    "Admits `core.attestation.root_ca`: whoever has that root's key can then forge evidence",
  ),
  urls: z
    .object({
      pccs: pccsUrls
        .optional()
        .describe("Service for Intel's collateral. Without it certificates that carry evidence are refused"),
    })
    .prefault({}),
  root_ca: z
    .strictObject({
      tdx: root.describe("PEM file of a root in the place of Intel's, for simulated TEEs"),
      gcp_tpm: root,
      aws_nitro_enclave: root,
      aws_nitro_tpm: root,
      sev_snp_milan: root,
      sev_snp_genoa: root,
      sev_snp_turin: root,
    })
    .prefault({}),
});

const admin = z.object({
  enabled: flag.describe("Serves the admin API, plain HTTP"),
  ...listener("127.0.0.1", 8011),
  auth_token: text
    .default("")
    .describe("Token of the admin API; else `DSTACK_GATEWAY_ADMIN_TOKEN` or `ADMIN_API_TOKEN` of the environment"),
  admin_token: text.default("").describe("Older name of `core.admin.auth_token`, which wins"),
  insecure_no_auth: flag.describe("Serves the admin API to everybody who reaches it, without a token"),
});

const debug = z.object({
  insecure_skip_attestation: flag.describe(
    "This gateway runs outside a TEE: it asks no guest agent who it is, and its certificate folder becomes a development one",
  ),
  insecure_localhost_backend: flag.describe(
    "The app id `localhost` leads to ports of the gateway's own host, for tests of the proxy",
  ),
});

const wg = z.object({
  public_key: text.default("").describe("Only checked: it must be that of `private_key`"),
  private_key: text.default("").describe("The gateway's WireGuard key, base64 as `wg genkey` prints it. Must be set"),
  listen_port: port(51_820).describe("UDP port of the tunnel"),
  ip: network("10.0.0.1/24").describe("The gateway's own tunnel address, with the network that it shares with CVMs"),
  reserved_net: z
    .array(parsed(networkText, parseNetwork))
    .default([parseNetwork("10.0.0.1/32")])
    .meta({ title: "list of networks" })
    .describe("Addresses that no CVM gets. Must contain the address of `ip`; by default 10.0.0.1/32"),
  client_ip_range: network("10.0.0.0/25").describe("Where CVMs get their addresses from, within the network of `ip`"),
  config_path: file.default("/etc/wireguard/wg0.conf").describe("WireGuard configuration, written at each change"),
  interface: text.default("wg0").describe("Name of the network interface, which the gateway makes and removes"),
  endpoint: text.default("10.0.2.2:51820").describe("`HOST:PORT` that CVMs dial to reach the tunnel"),
  backend: z
    .enum(["auto", "kernel", "userspace"])
    .default("auto")
    .describe("Ours: who carries the tunnel, the kernel or wireguard-go; `auto` takes the kernel where it can"),
});

const timeouts = z.object({
  connect: duration("5s").describe("To reach one of an app's CVMs, all attempts together"),
  handshake: duration("5s").describe("For a client's first TLS message, and again for the handshake that follows"),
  cache_top_n: duration("30s").describe("How long a choice of CVMs is kept for an app"),
  handshake_stale: duration("30m").describe(
    "A CVM whose last WireGuard handshake is older gets no connections; at least 3m count",
  ),
  data_timeout_enabled: z.boolean().default(true).describe("Whether `core.proxy.timeouts.idle` applies"),
  idle: duration("10m").describe("A connection on which nothing moved for so long is closed"),
  total: duration("5h").describe("A connection is closed after so long, whatever moves on it"),
});

const portPolicyFetch = z.object({
  timeout: duration("10s").describe("For one question to a CVM's agent about its port policy"),
  max_retries: z.int().min(0).max(100).default(5).describe("Further questions after one that failed"),
  backoff_initial: duration("1s").describe("Pause before the first of them; it doubles each time"),
  backoff_max: duration("30s").describe("Longest pause between them"),
});

const proxy = z.object({
  listen_addr: text.default("0.0.0.0").describe("Address that the proxy listens on"),
  listen_port: parsed(
    z.union([z.number(), z.string()]).meta({ title: 'port, or ports such as "443-445"' }).default(8443),
    portRange,
  ).describe("Ports that the proxy listens on"),
  base_domain: text.optional().describe("Apps are `<id>.<base_domain>`. Set it together with the two files below"),
  cert_chain: file.optional().describe("Certificate chain for `*.<base_domain>`, PEM; read again when it changes"),
  cert_key: file.optional().describe("Its private key, PEM"),
  external_port: port(443).describe("Port of the proxy as CVMs and users are told it"),
  agent_port: portNumber.optional().describe(`Port of the guest agent inside CVMs. Without it ${AGENT_PORT}`),
  tappd_port: portNumber.optional().describe("Older name of `core.proxy.agent_port`, which wins"),
  tls_versions: z
    .array(z.enum(["1.2", "1.3"]))
    .min(1)
    .default(["1.2"])
    .meta({ title: 'list of "1.2", "1.3"' })
    .describe("TLS versions that the proxy ends itself"),
  connect_top_n: z
    .int()
    .min(0)
    .max(64)
    .default(3)
    .describe("How many of an app's CVMs are tried at once, the first that answers wins; 0: one at random"),
  app_address_ns_prefix: text
    .default("_dstack-app-address")
    .describe("Prefix of the TXT record of a custom domain, as CVMs are told it; this gateway asks for none itself"),
  localhost_enabled: flag.describe("Older name of `core.debug.insecure_localhost_backend`"),
  max_connections_per_app: z.int().min(0).default(2000).describe("Connections of one app at one time; 0: no limit"),
  max_connections: z.int().min(1).default(50_000).describe("Ours: connections of the proxy at one time, all apps"),
  port_policy_fetch: portPolicyFetch.prefault({}),
  timeouts: timeouts.prefault({}),
});

const recycle = z.object({
  enabled: z.boolean().default(true).describe("Forgets CVMs that are gone"),
  interval: duration("5m").describe("How often it looks for them"),
  timeout: duration("10h").describe("Gone is what shook hands for the last time so long ago"),
});

const sync = z.object({
  node_id: z.int().min(0).max(0xffff_ffff).default(0).describe("This gateway's number, as status and peers show it"),
  my_url: text.default("https://localhost:8011").describe("This gateway's URL, as status and peers show it"),
  data_dir: file
    .optional()
    .describe("Folder of the registrations. Without it `gateway-data` beside `core.wg.config_path`"),
});

export const gatewaySchema = z.object({
  ident: text.default("dstack Gateway").describe("`Server` header of the RPC listener"),
  log_level: text.default("info").describe("`error`, `warn`, `info` or `debug`; `DSTACK_LOG_LEVEL` wins"),
  ...listener("127.0.0.1", 8010),
  tls,
  core: z
    .object({
      state_path: file
        .default("./gateway-state.json")
        .describe("State file of 0.5.5, imported once where there are no registrations yet"),
      rpc_domain: text
        .default("")
        .describe("Name or address that CVMs call this gateway by; a certificate that does not carry it is warned of"),
      run_in_dstack: z.boolean().default(true).describe("Of 0.5.5: false is `core.debug.insecure_skip_attestation`"),
      pccs_url: pccsUrls.optional().describe("Older name of `core.attestation.urls.pccs`, which wins"),
      attestation: attestation.prefault({}),
      admin: admin.prefault({}),
      debug: debug.prefault({}),
      wg: wg.prefault({}),
      proxy: proxy.prefault({}),
      recycle: recycle.prefault({}),
      sync: sync.prefault({}),
    })
    .prefault({}),
});

export type RawGatewayConfig = z.output<typeof gatewaySchema>;

/** Keys without which this gateway refuses less. */
export const PROTECTING_KEYS: readonly string[] = [
  "core.proxy.tls_versions",
  "core.proxy.max_connections",
  "core.proxy.max_connections_per_app",
  "core.wg.reserved_net",
];
