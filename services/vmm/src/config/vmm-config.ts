/**
 * What the operator wants. In: vmm.toml in its layers, by the schema of config-schema.ts. Out: one
 * `VmmConfig`, checked: paths absolute, the listener resolved, nothing that this VMM cannot keep.
 * Never: a key that protects something taken and not obeyed; other rooms read no file and no
 * environment of their own.
 */
import { homedir } from "node:os";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { z } from "zod";
import { loadConfig, silent, warnOf } from "@dstack/config";
import type { Logger } from "@dstack/log";
import type { Listen } from "@dstack/rpc";
import { SILENT_KEYS, vmmConfigSchema, type RawConfig } from "./config-schema.ts";
import { VmmError } from "../errors.ts";

/** The checked configuration: all paths absolute, the listener resolved. */
export interface VmmConfig extends Omit<RawConfig, "run_path" | "image_path" | "image" | "address" | "port"> {
  readonly listen: Listen;
  readonly runPath: string;
  readonly imagePath: string;
  readonly gatewayUrls: readonly string[];
  readonly hostApiPort: number;
}

/** @throws ConfigError, VmmError `config-invalid` naming the key */
export async function readVmmConfig(
  file: string | undefined,
  log: Logger,
  cwd: string = process.cwd(),
): Promise<VmmConfig> {
  const unread = SILENT_KEYS.map((key) => silent(key, z.unknown(), "it tunes what is built differently here"));
  const loaded = await loadConfig({ name: "vmm", file, schema: vmmConfigSchema, unread, cwd });
  warnOf(log, loaded);
  return checkVmmConfig(loaded.config, cwd);
}

/** @throws VmmError `config-invalid` naming the key, what it must be and what it is */
export function checkVmmConfig(raw: RawConfig, cwd: string): VmmConfig {
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
  const gatewayUrls = cvm.gateway_urls ?? cvm.tproxy_urls ?? ["http://127.0.0.1:8082"];
  for (const url of cvm.kms_urls) checkUrl("cvm.kms_urls", url);
  for (const url of gatewayUrls) checkUrl("cvm.gateway_urls", url);
  if (cvm.pccs_url !== "") checkUrl("cvm.pccs_url", cvm.pccs_url);
  if (cvm.nvidia_attestation_proxy_url !== undefined)
    checkUrl("cvm.nvidia_attestation_proxy_url", cvm.nvidia_attestation_proxy_url);
  if (raw.auth_webhook.url !== "") checkUrl("auth_webhook.url", raw.auth_webhook.url);
  must(
    /^(?:0x)?[0-9a-fA-F]{64}$|^$/.test(raw.auth_webhook.device_id),
    "auth_webhook.device_id",
    "32 bytes of hex",
    raw.auth_webhook.device_id,
  );
  const absolute = (path: string): string =>
    resolve(cwd, path.startsWith("~/") || path === "~" ? join(homedir(), path.slice(1)) : path);
  const { address, port, image, image_path, run_path, ...rest } = raw;
  return {
    ...rest,
    listen: parseListen(address, port, absolute),
    runPath: absolute(run_path || "~/.dstack-vmm/vm"),
    imagePath: absolute(image.path || image_path || "~/.dstack-vmm/image"),
    gatewayUrls,
    hostApiPort: raw.host_api.port,
    supervisor: {
      ...raw.supervisor,
      sock: absolute(raw.supervisor.sock),
      pid_file: absolute(raw.supervisor.pid_file),
      log_file: absolute(raw.supervisor.log_file),
      exe: raw.supervisor.exe === "" ? "" : absolute(raw.supervisor.exe),
    },
  };
}

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

const DEFAULT_PORT = 8000;

/** `unix:PATH`, or an IP address with or without `tcp:` and a port; the key `port` wins. */
function parseListen(address: string, port: number | undefined, absolute: (path: string) => string): Listen {
  if (address.startsWith("unix:")) return { path: absolute(address.slice("unix:".length)), mode: 0o600 };
  const parts = /^(?:tcp:)?(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)|(::1?))(?::(\d{1,5}))?$/.exec(address);
  const host = parts?.[1] ?? parts?.[2] ?? parts?.[3] ?? "";
  const inText = parts?.[4] === undefined ? undefined : Number(parts[4]);
  must(isIP(host) !== 0 && (inText ?? 0) <= 65_535, "address", "unix:PATH, IP:PORT or tcp:IP:PORT", address);
  return { host, port: port ?? inText ?? DEFAULT_PORT };
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
