/**
 * manifest/ is app-compose.json, the manifest of an app.
 * In: the file's very bytes, which are what is measured and hashed.
 * Out: a parsed view that travels beside them, and their hash.
 * Never: a view that is written back, or anything read of the compose file inside.
 */
import { createHash } from "node:crypto";
import { canonicalize } from "./canonicalize.ts";
import { hash32, parseHex, parseHexOfLength, parseSize, utf8, utf8Decode, type Hash32 } from "@dstack/bytes";
import { asRefusal } from "@dstack/errors";
import { ComposeError } from "../errors.ts";
import { fieldsOf, type Fields } from "./fields.ts";
import { parseManifestVersion } from "./manifest-version.ts";
import { parseStrictJson, type StrictJson } from "./strict-json.ts";

/** Most bytes of app-compose.json that a guest copies from its host share. */
export const APP_COMPOSE_MAX_BYTES = 52_428_800;

export type KeyProvider = "none" | "kms" | "local" | "tpm";
export type StorageFs = "zfs" | "ext4";

export interface PortPolicy {
  readonly ports: readonly { readonly port: number; readonly pp: boolean }[];
  readonly restrictMode: boolean;
}

export interface Requirements {
  /** A Cargo-style version requirement on the guest OS, e.g. `>=0.6.0, <0.7.0`. */
  readonly osVersion: string | undefined;
  readonly platforms: readonly string[] | undefined;
  readonly tdxMeasureAcpiTables: boolean | undefined;
  readonly launchTokenHash: string | undefined;
}

export interface VerityVolume {
  readonly source: string;
  readonly verityRoot: Hash32;
  readonly target: string;
}

/** Effective values: aliases and legacy switches are resolved. */
export interface AppCompose {
  readonly manifestVersion: number;
  readonly name: string;
  readonly runner: string;
  readonly snapshotter: "overlayfs" | "stargz" | undefined;
  readonly dockerComposeFile: string | undefined;
  readonly initScripts: readonly string[];
  readonly preLaunchScript: string | undefined;
  readonly bashScript: string | undefined;
  readonly publicLogs: boolean;
  readonly publicSysinfo: boolean;
  readonly publicTcbinfo: boolean;
  readonly gatewayEnabled: boolean;
  readonly keyProvider: KeyProvider;
  /** The pinned identity of the key provider; empty where nothing is pinned. */
  readonly keyProviderId: Uint8Array;
  readonly allowedEnvs: readonly string[];
  readonly noInstanceId: boolean;
  readonly secureTime: boolean;
  /** Absent where the manifest leaves the choice to the image. */
  readonly storageFs: StorageFs | undefined;
  readonly swapSizeBytes: bigint;
  readonly eventLogVersion: 1 | 2;
  readonly portPolicy: PortPolicy;
  readonly requirements: Requirements | undefined;
  readonly gpuPolicyHash: Hash32;
  readonly verityVolumes: readonly VerityVolume[];
  /** Members that this version does not read. */
  readonly unknownFields: readonly string[];
}

export interface ParsedAppCompose {
  /** The very bytes that were given. */
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes`. */
  readonly composeHash: Hash32;
  readonly compose: AppCompose;
}

/**
 * Parses app-compose.json.
 * @throws ComposeError `too-large`, `json-invalid`, `manifest-invalid`, `size-invalid`
 */
export function parseAppCompose(bytes: Uint8Array): ParsedAppCompose {
  if (bytes.length > APP_COMPOSE_MAX_BYTES)
    throw new ComposeError(
      "too-large",
      `app-compose.json has ${bytes.length} bytes, at most ${APP_COMPOSE_MAX_BYTES} are read`,
    );
  let text: string;
  try {
    text = utf8Decode(bytes, "app-compose.json");
  } catch (cause) {
    throw new ComposeError("json-invalid", "app-compose.json is not valid UTF-8", { cause });
  }
  return { bytes, composeHash: composeHash(bytes), compose: readCompose(fieldsOf(parseStrictJson(text), "")) };
}

/** SHA-256 of the raw bytes: the hash that is measured, registered and authorised (#550). */
export const composeHash = (bytes: Uint8Array): Hash32 => hash32(sha256(bytes), "compose hash");

function readCompose(fields: Fields): AppCompose {
  const features = fields.texts("features") ?? [];
  const requirements = fields.object("requirements", "nullable");
  return {
    manifestVersion: parseManifestVersion(fields.raw("manifest_version")),
    name: fields.text("name"),
    runner: fields.text("runner"),
    snapshotter: oneOf(fields.optionalText("snapshotter", "nullable"), ["overlayfs", "stargz"], "snapshotter"),
    dockerComposeFile: fields.optionalText("docker_compose_file", "nullable"),
    initScripts: readInitScripts(fields),
    preLaunchScript: fields.optionalText("pre_launch_script", "nullable"),
    bashScript: fields.optionalText("bash_script", "nullable"),
    publicLogs: fields.flag("public_logs", false),
    publicSysinfo: fields.flag("public_sysinfo", false),
    publicTcbinfo: fields.flag("public_tcbinfo", true),
    gatewayEnabled: [
      fields.flag("gateway_enabled", false),
      fields.flag("tproxy_enabled", false),
      features.includes("tproxy-net"),
    ].includes(true),
    keyProvider: resolveKeyProvider(fields),
    keyProviderId: readHex(fields.optionalText("key_provider_id") ?? "", "key_provider_id"),
    allowedEnvs: fields.texts("allowed_envs") ?? [],
    noInstanceId: fields.flag("no_instance_id", false),
    secureTime: fields.flag("secure_time", true),
    storageFs: readStorageFs(fields.optionalText("storage_fs", "nullable")),
    swapSizeBytes: readSwapSize(fields),
    eventLogVersion: readEventLogVersion(fields),
    portPolicy: readPortPolicy(fields.object("port_policy")),
    requirements: requirements === undefined ? undefined : readRequirements(requirements),
    gpuPolicyHash: hashGpuPolicy(requirements),
    verityVolumes: readVerityVolumes(fields),
    unknownFields: fields.names.filter((name) => !KNOWN.has(name)),
  };
}

const KNOWN: ReadonlySet<string> = new Set([
  "manifest_version",
  "name",
  "features",
  "runner",
  "snapshotter",
  "docker_compose_file",
  "init_script",
  "pre_launch_script",
  "bash_script",
  "public_logs",
  "public_sysinfo",
  "public_tcbinfo",
  "kms_enabled",
  "gateway_enabled",
  "tproxy_enabled",
  "local_key_provider_enabled",
  "key_provider",
  "key_provider_id",
  "allowed_envs",
  "no_instance_id",
  "secure_time",
  "storage_fs",
  "swap_size",
  "event_log_version",
  "port_policy",
  "requirements",
  "verity_volumes",
]);

/** An explicit provider wins over both legacy switches, and `kms_enabled` over the local one. */
function resolveKeyProvider(fields: Fields): KeyProvider {
  const kms = fields.flag("kms_enabled", false);
  const local = fields.flag("local_key_provider_enabled", false);
  const explicit = oneOf(
    fields.optionalText("key_provider", "nullable"),
    ["none", "kms", "local", "tpm"],
    "key_provider",
  );
  return explicit ?? (kms ? "kms" : local ? "local" : "none");
}

function readInitScripts(fields: Fields): readonly string[] {
  const value = fields.raw("init_script");
  if (value === undefined || value === null) return [];
  if (typeof value === "string") return [value];
  const scripts = fields.texts("init_script") ?? [];
  if (scripts.length > 5)
    throw new ComposeError("manifest-invalid", `init_script supports at most 5 scripts, got ${scripts.length}`);
  return scripts;
}

function readStorageFs(value: string | undefined): StorageFs | undefined {
  if (value === undefined) return undefined;
  const lower = value.toLowerCase();
  if (lower !== "zfs" && lower !== "ext4")
    throw new ComposeError("manifest-invalid", `Invalid filesystem type: ${value}, supported types: zfs, ext4`);
  return lower;
}

function readSwapSize(fields: Fields): bigint {
  if (typeof fields.raw("swap_size") === "string")
    return asRefusal(
      () => parseSize(fields.text("swap_size")),
      (cause) =>
        cause instanceof ComposeError ? undefined : new ComposeError("size-invalid", cause.message, { cause }),
    );
  return fields.integer("swap_size", 0n, (1n << 64n) - 1n) ?? 0n;
}

function readEventLogVersion(fields: Fields): 1 | 2 {
  const version = fields.integer("event_log_version", 0n, 0xffff_ffffn) ?? 1n;
  if (version === 1n) return 1;
  if (version === 2n) return 2;
  throw new ComposeError("manifest-invalid", `unknown event log version: ${version}`);
}

function readPortPolicy(fields: Fields | undefined): PortPolicy {
  if (fields === undefined) return { ports: [], restrictMode: false };
  const ports = fields.objects("ports").map((port) => {
    const number = port.integer("port", 0n, 65_535n);
    if (number === undefined) throw new ComposeError("manifest-invalid", "missing field `port_policy.ports.port`");
    return { port: Number(number), pp: port.flag("pp", false) };
  });
  return { ports, restrictMode: fields.flag("restrict_mode", false) };
}

function readRequirements(fields: Fields): Requirements {
  fields.onlyKnown(["os_version", "platforms", "tdx_measure_acpi_tables", "launch_token_hash", "gpu_policy"]);
  readGpuPolicy(fields.object("gpu_policy", "nullable"));
  return {
    osVersion: fields.optionalText("os_version", "nullable"),
    platforms: fields.raw("platforms") === null ? undefined : fields.texts("platforms"),
    tdxMeasureAcpiTables:
      fields.raw("tdx_measure_acpi_tables") === null ? undefined : fields.optionalFlag("tdx_measure_acpi_tables"),
    launchTokenHash: fields.optionalText("launch_token_hash", "nullable"),
  };
}

function readGpuPolicy(fields: Fields | undefined): void {
  if (fields === undefined) return;
  fields.onlyKnown(["attest_gpu", "rego", "allow_devtools", "allow_debug", "allow_insecure_boot"]);
  for (const name of ["attest_gpu", "allow_devtools", "allow_debug", "allow_insecure_boot"]) fields.optionalFlag(name);
  fields.optionalText("rego", "nullable");
}

/** Over the policy as written: an explicit default hashes differently from an absent one. */
function hashGpuPolicy(requirements: Fields | undefined): Hash32 {
  const policy = requirements?.raw("gpu_policy");
  return hash32(
    sha256(utf8(canonicalize(policy === undefined || policy === null ? (Object.create(null) as StrictJson) : policy))),
  );
}

function readVerityVolumes(fields: Fields): readonly VerityVolume[] {
  const targets = new Set<string>();
  return fields.objects("verity_volumes").map((volume) => {
    const target = volume.text("target");
    if (!target.startsWith("/"))
      throw new ComposeError("manifest-invalid", `verity volume target ${target} must be an absolute path`);
    if (targets.has(target)) throw new ComposeError("manifest-invalid", `duplicate verity volume target ${target}`);
    targets.add(target);
    return { source: volume.text("source"), verityRoot: hash32(parseRoot(volume.text("verity_root"))), target };
  });
}

function parseRoot(text: string): Uint8Array {
  try {
    return parseHexOfLength(text, 32, "verity_root");
  } catch (cause) {
    throw new ComposeError("manifest-invalid", "verity_root: expected 32 bytes of hex", { cause });
  }
}

function readHex(text: string, what: string): Uint8Array {
  try {
    if (/^0[xX]/.test(text)) throw new Error("a 0x prefix is not accepted here");
    return parseHex(text, what);
  } catch (cause) {
    throw new ComposeError("manifest-invalid", `${what}: expected an even number of hex digits without 0x`, { cause });
  }
}

function oneOf<const T extends string>(value: string | undefined, allowed: readonly T[], what: string): T | undefined {
  if (value === undefined) return undefined;
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined)
    throw new ComposeError(
      "manifest-invalid",
      `${what}: unknown variant \`${value}\`, expected one of ${allowed.join(", ")}`,
    );
  return found;
}

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("sha256").update(bytes).digest());
