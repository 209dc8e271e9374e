import { isIP } from "node:net";
import { asRefusal } from "@dstack/errors";
import { answerKey } from "@dstack/governance/answers";
import { VmmError } from "../errors.ts";
import type { RawConfig } from "./config-schema.ts";

/** The rules that a schema cannot say. @throws VmmError `config-invalid` naming the key, what it must be and what it is */
export function checkRules(raw: RawConfig): void {
  const { cvm } = raw;
  const hostApi = /^vsock:(\d+|0x[0-9a-fA-F]+)$/.exec(raw.host_api.address);
  must(
    hostApi !== null,
    "host_api.address",
    "vsock: and a CID; TCP and Unix sockets are not supported",
    raw.host_api.address,
  );
  must(raw.host_api.port > 0, "host_api.port", "a port above 0", raw.host_api.port);
  must(cvm.cid_start >= 3, "cvm.cid_start", "at least 3", cvm.cid_start);
  must(cvm.cid_pool_size > 0, "cvm.cid_pool_size", "above 0", cvm.cid_pool_size);
  must(
    cvm.cid_start + cvm.cid_pool_size <= 0xffff_ffff,
    "cvm.cid_pool_size",
    "CID pool overflow: start and size must fit 32 bits",
    cvm.cid_pool_size,
  );
  must(cvm.host_share_mode !== "vhd", "cvm.host_share_mode", "9p or vvfat; vhd is not supported", cvm.host_share_mode);
  must(cvm.platform !== "amd-sev-snp", "cvm.platform", "auto or tdx; AMD SEV-SNP is not supported", cvm.platform);
  must(!cvm.gpu.enabled, "cvm.gpu.enabled", "false; GPUs are not supported", true);
  must(
    raw.auth.htpasswd_file === "",
    "auth.htpasswd_file",
    "empty; use auth.tokens, password files are not supported",
    raw.auth.htpasswd_file,
  );
  checkAutoRestart(cvm.auto_restart);
  for (const range of cvm.port_mapping.range)
    must(range.from <= range.to, "cvm.port_mapping.range", "from not above to", `${range.from}-${range.to}`);
  must(isIP(cvm.port_mapping.address) !== 0, "cvm.port_mapping.address", "an IP address", cvm.port_mapping.address);
  must(
    /^(?:[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){0,2})?$/.test(cvm.networking.mac_prefix),
    "cvm.networking.mac_prefix",
    "one to three hex bytes joined by colons",
    cvm.networking.mac_prefix,
  );
  must(
    ["user", "bridge", "custom"].includes(cvm.networking.mode),
    "cvm.networking.mode",
    "user, bridge or custom",
    cvm.networking.mode,
  );
  must(
    cvm.networking.mode !== "bridge" || cvm.networking.bridge !== "",
    "cvm.networking.bridge",
    "the name of a bridge",
    "",
  );
  must(
    cvm.networking.mode !== "custom" || cvm.networking.netdev !== "",
    "cvm.networking.netdev",
    "a -netdev value",
    "",
  );
  must(raw.supervisor.sock !== "", "supervisor.sock", "a path", "");
  for (const url of cvm.kms_urls) checkUrl("cvm.kms_urls", url);
  for (const url of gatewayUrlsOf(raw)) checkUrl("cvm.gateway_urls", url);
  for (const url of pccsUrlsOf(raw)) checkUrl("cvm.pccs_url", url);
  for (const url of raw.attestation.urls.pccs ?? []) checkUrl("attestation.urls.pccs", url);
  must(
    raw.attestation.root_ca.tdx === "" || raw.attestation.insecure_allow_external_trust_anchors,
    "attestation.root_ca.tdx",
    "absent unless insecure_allow_external_trust_anchors is true",
    raw.attestation.root_ca.tdx,
  );
  if (cvm.nvidia_attestation_proxy_url !== undefined)
    checkUrl("cvm.nvidia_attestation_proxy_url", cvm.nvidia_attestation_proxy_url);
  if (raw.auth_webhook.url !== "") checkUrl("auth_webhook.url", raw.auth_webhook.url);
  must(
    /^(?:0x)?[0-9a-fA-F]{64}$|^$/.test(raw.auth_webhook.device_id),
    "auth_webhook.device_id",
    "32 bytes of hex",
    raw.auth_webhook.device_id,
  );
  for (const key of raw.auth_webhook.answer_keys)
    asRefusal(
      () => answerKey(key),
      ({ message }) => new VmmError("config-invalid", `auth_webhook.answer_keys: ${message}`),
    );
}

/** Those of the file, under their newer or older name, or the reference's own. */
export const gatewayUrlsOf = ({ cvm }: RawConfig): readonly string[] =>
  cvm.gateway_urls ?? cvm.tproxy_urls ?? ["http://127.0.0.1:8082"];

/** Those of the file; an empty text is none. */
export const pccsUrlsOf = ({ cvm }: RawConfig): readonly string[] => cvm.pccs_url.filter((url) => url !== "");

/** Exported for the rule's own vectors. @throws VmmError `config-invalid` */
export function checkAutoRestart(config: RawConfig["cvm"]["auto_restart"]): void {
  if (!config.enabled) return;
  must(config.interval > 0, "cvm.auto_restart.interval", "above 0", config.interval);
  must(config.initial_backoff > 0, "cvm.auto_restart.initial_backoff", "above 0", config.initial_backoff);
  must(
    config.initial_backoff <= config.max_backoff,
    "cvm.auto_restart.max_backoff",
    `at least initial_backoff (${config.initial_backoff})`,
    config.max_backoff,
  );
}

function checkUrl(key: string, url: string): void {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  must(
    parsed !== undefined && ["http:", "https:"].includes(parsed.protocol) && parsed.hostname !== "",
    key,
    "an http or https URL with a host",
    url,
  );
}

function must(holds: boolean, key: string, expected: string, got: unknown): void {
  if (!holds) throw new VmmError("config-invalid", `${key}: expected ${expected}, got ${JSON.stringify(got)}`);
}
