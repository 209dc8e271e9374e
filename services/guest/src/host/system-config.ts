/**
 * The host's unmeasured configuration: URLs, the VM's own configuration text and the instance's
 * identity of earlier boots. Everything here is hostile input; nothing here says who anybody is
 * (audit row 09).
 */
import { parseHex, parseJson } from "@dstack/bytes";
import { GuestError } from "../errors.ts";

export interface SystemConfig {
  readonly kmsUrls: readonly string[];
  readonly gatewayUrls: readonly string[];
  /** Tried in this order; empty where the host names none. */
  readonly pccsUrls: readonly string[];
  readonly dockerRegistry: string | undefined;
  readonly hostApiUrl: string | undefined;
  /** A launch document (MRCONFIGID version 3), hashed as given. */
  readonly mrConfig: string | undefined;
  /** JSON text, passed through unchanged. */
  readonly vmConfig: string;
  /** `lite` or absent. */
  readonly tdxAttestationVariant: string | undefined;
}

export interface InstanceInfo {
  readonly instanceIdSeed: Uint8Array;
  readonly appId: Uint8Array;
}

const MAX_URLS = 16;

/** @throws GuestError `config-invalid` */
export function parseSystemConfig(text: string): SystemConfig {
  const root = parseObject(text, ".sys-config.json");
  const vmConfig = root["vm_config"];
  if (typeof vmConfig !== "string") throw invalid("vm_config: expected a string");
  const vm = vmConfig.trim() === "" ? {} : parseObject(vmConfig, "vm_config of .sys-config.json");
  const collateral = objectOf(root, "collateral_urls");
  return {
    kmsUrls: urls(root, "kms_urls"),
    gatewayUrls: [...urls(root, "gateway_urls"), ...urls(root, "tproxy_urls")],
    pccsUrls: pccsOf(root, optionalText(collateral, "pccs") ?? optionalText(root, "pccs_url")),
    dockerRegistry: optionalText(root, "docker_registry"),
    hostApiUrl: optionalText(root, "host_api_url"),
    mrConfig: optionalText(root, "mr_config") ?? optionalText(vm, "mr_config"),
    vmConfig,
    tdxAttestationVariant: optionalText(vm, "tdx_attestation_variant"),
  };
}

/** @throws GuestError `config-invalid` */
export function parseInstanceInfo(text: string | undefined): InstanceInfo {
  const root = text === undefined ? {} : parseObject(text, ".instance_info");
  return { instanceIdSeed: hex(root, "instance_id_seed", 20), appId: hex(root, "app_id", undefined) };
}

/** Base URL of a service's RPC: `/prpc` appended once, whatever slashes the base ends with. */
export function rpcUrl(base: string): string {
  const trimmed = base.replace(/\/+$/, "");
  return trimmed.endsWith("/prpc") ? trimmed : `${trimmed}/prpc`;
}

type Json = Readonly<Record<string, unknown>>;

function parseObject(text: string, what: string): Json {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw new GuestError("config-invalid", `${what} is not valid JSON`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new GuestError("config-invalid", `${what}: expected a JSON object`);
  return value as Json;
}

function objectOf(root: Json, name: string): Json {
  const value = root[name] ?? {};
  if (typeof value !== "object" || Array.isArray(value)) throw invalid(`${name}: expected an object`);
  return value as Json;
}

/** An empty string equals absent. */
function optionalText(root: Json, name: string): string | undefined {
  const value = root[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw invalid(`${name}: expected a string`);
  return value.trim() === "" ? undefined : value;
}

/** Hosts that know of one server name it alone. */
function pccsOf(root: Json, one: string | undefined): readonly string[] {
  const many = urls(root, "pccs_urls");
  return many.length > 0 ? many : one === undefined ? [] : [one];
}

function urls(root: Json, name: string): readonly string[] {
  const value = root[name] ?? [];
  if (!Array.isArray(value) || value.length > MAX_URLS) throw invalid(`${name}: expected at most ${MAX_URLS} URLs`);
  return value.map((item: unknown) => {
    if (typeof item !== "string" || !URL.canParse(item))
      throw invalid(`${name}: expected URLs, got ${JSON.stringify(item)?.slice(0, 80)}`);
    return item;
  });
}

function hex(root: Json, name: string, length: number | undefined): Uint8Array {
  const value = root[name] ?? "";
  if (typeof value !== "string") throw new GuestError("config-invalid", `.instance_info: ${name}: expected a string`);
  try {
    const bytes = parseHex(value, name);
    if (length !== undefined && bytes.length !== 0 && bytes.length !== length)
      throw new Error(`expected ${length} bytes, got ${bytes.length}`);
    return bytes;
  } catch (cause) {
    throw new GuestError("config-invalid", `.instance_info: ${name} is not as expected`, { cause });
  }
}

const invalid = (text: string): GuestError => new GuestError("config-invalid", `.sys-config.json: ${text}`);
