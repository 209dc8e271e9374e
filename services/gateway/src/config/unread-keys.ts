/**
 * The keys of released gateway.toml files that this gateway does not act on, each with what becomes
 * of a file that sets it. Refused is what somebody would feel protected by; told, what somebody may
 * wait for; silent, what only tunes a part that is built differently here.
 */
import { z } from "zod";
import { refused, silent, told, type UnreadKey } from "@dstack/config";

const text = z.string();
const flag = z.boolean();
const count = z.int().min(0);
const gates = { after_bytes: count.optional(), after_duration: text.optional() };
const listener = z.union([text, count]);

const ONE_PROCESS = "one process without thread pools serves";
const OWN_RELAY = "the relay moves bytes in its own way";
const ONE_NODE = "core.sync.enabled is refused: this version serves one node";
const NO_CERTBOT = "core.certbot.enabled is refused: this version orders no certificates";
const NO_AUTH = "core.auth.enabled is refused: this version asks no webhook about registrations";
const NO_DEBUG = "the debug listener is not part of this version";
const NO_CUSTOM_DOMAINS = "custom domains are not part of this version, so no TXT record is asked for";
const TDX_ALONE = "this gateway verifies evidence of TDX alone, and refuses all other";

export const UNREAD_KEYS: readonly UnreadKey[] = [
  silent("workers", count, ONE_PROCESS),
  silent("max_blocking", count, ONE_PROCESS),
  silent("temp_dir", text, "nothing is written there"),
  silent("keep_alive", count, "the server closes idle connections by its own rule"),
  refused(
    "tls.mutual.mandatory",
    flag,
    [false],
    "Info, AcmeInfo and health are for callers without a certificate; RegisterCvm and GetPeers always want one that chains to tls.mutual.ca_certs",
  ),
  silent("core.kms_url", text, "the certificates of [tls] are files; 0.6.0 does not read it either"),
  silent("core.set_ulimit", flag, "Node raises the limit of open files itself"),

  told("core.attestation.urls.amd_kds", text, ["", "https://kdsintf.amd.com/vcek/v1"], TDX_ALONE),
  ...["gcp_tpm", "aws_nitro_enclave", "aws_nitro_tpm", "sev_snp_milan", "sev_snp_genoa", "sev_snp_turin"].map((name) =>
    told(`core.attestation.root_ca.${name}`, text, [], TDX_ALONE),
  ),

  refused(
    "core.auth.enabled",
    flag,
    [false],
    "the app authorization webhook is not part of this version, and without it every registration would pass",
  ),
  silent("core.auth.url", text, NO_AUTH),
  silent("core.auth.timeout", text, NO_AUTH),

  refused(
    "core.admin.htpasswd_file",
    text,
    [""],
    "files of users are not part of this version; use core.admin.auth_token or DSTACK_GATEWAY_ADMIN_TOKEN",
  ),

  refused("core.debug.insecure_enable_debug_rpc", flag, [false], NO_DEBUG),
  silent("core.debug.address", listener, NO_DEBUG),
  silent("core.debug.port", count, NO_DEBUG),
  told(
    "core.debug.key_file",
    text,
    ["", "debug_key.json"],
    "no certificate is made from a development key; put files at tls.key and tls.certs",
  ),

  refused(
    "core.certbot.enabled",
    flag,
    [false],
    "ordering certificates is not part of this version; put a certificate at core.proxy.cert_chain and cert_key",
  ),
  ...["workdir", "acme_url", "cf_api_token", "cf_zone_id", "domain"].map((name) =>
    silent(`core.certbot.${name}`, text, NO_CERTBOT),
  ),
  silent("core.certbot.auto_set_caa", flag, NO_CERTBOT),
  ...["renew_interval", "renew_before_expiration", "renew_days_before", "renew_timeout"].map((name) =>
    silent(`core.certbot.${name}`, text, NO_CERTBOT),
  ),

  silent("core.proxy.tls_crypto_provider", z.enum(["aws-lc-rs", "ring"]), "Node's OpenSSL serves TLS"),
  silent("core.proxy.workers", count, ONE_PROCESS),
  silent("core.proxy.thread_per_core", flag, ONE_PROCESS),
  silent("core.proxy.connection_rebalance", flag, ONE_PROCESS),
  silent("core.proxy.buffer_size", count, OWN_RELAY),
  // The table alone turns it on, so it is told of as a whole.
  told("core.proxy.tcp_splice", z.looseObject({ ...gates, release_idle_pipes: flag.optional() }), [], OWN_RELAY),
  told("core.proxy.ktls", z.looseObject(gates), [], OWN_RELAY),
  silent("core.proxy.app_address_ns_compat", flag, NO_CUSTOM_DOMAINS),
  told("core.proxy.app_address_dns_servers", z.array(text), [[]], NO_CUSTOM_DOMAINS),
  refused(
    "core.proxy.inbound_pp_enabled",
    flag,
    [false],
    "inbound PROXY headers are not part of this version, so every connection that begins with one would fail",
  ),
  silent("core.proxy.timeouts.write", text, "core.proxy.timeouts.idle ends a stalled connection, as in 0.6.0"),
  told(
    "core.proxy.timeouts.shutdown",
    text,
    ["5s"],
    "a half-closed connection ends by core.proxy.timeouts.idle or total",
  ),
  silent("core.proxy.timeouts.dns_resolve", text, NO_CUSTOM_DOMAINS),
  silent("core.proxy.timeouts.pp_header", text, "core.proxy.inbound_pp_enabled is refused"),

  silent("core.recycle.node_timeout", text, "0.5.5 alone reads it"),

  refused("core.sync.enabled", flag, [false], "this version serves one node"),
  silent("core.sync.interval", text, ONE_NODE),
  silent("core.sync.timeout", text, ONE_NODE),
  silent("core.sync.broadcast_interval", text, ONE_NODE),
  silent("core.sync.bootnode", text, ONE_NODE),
  silent("core.sync.persist_interval", text, ONE_NODE),
  silent("core.sync.sync_connections_enabled", flag, ONE_NODE),
  silent("core.sync.sync_connections_interval", text, ONE_NODE),
];
