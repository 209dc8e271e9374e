/**
 * The VM configuration: JSON text that travels from the VMM through the guest to every
 * verifier. Each field changes what a verifier computes, so it must match the real machine.
 *
 * Readers take every key as optional and ignore keys they do not know; a key that comes twice
 * is refused.
 */
import { hash32, parseBareHex, parseJson, toHex } from "@dstack/bytes";
import type { Hash32 } from "@dstack/bytes";
import { isCoded } from "@dstack/errors";
import { fromBase64, toBase64 } from "./base64.ts";
import { MeasureError } from "./errors.ts";

/** A measurement file and the checksum list that ties it to the image hash. */
export interface MeasurementMaterial {
  /** The bytes of sha256sum.txt. */
  readonly checksumFile: Uint8Array;
  /** The bytes of measurement.tdx.cbor. */
  readonly measurement: Uint8Array;
}

export interface VmConfig {
  readonly osImageHash?: Hash32;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  /**
   * On the wire `qemu_single_pass_add_pages`, whose name says the opposite of what every
   * verifier makes of it: true selects two-pass.
   */
  readonly twoPassAddPages?: boolean;
  readonly pic?: boolean;
  /** `major.minor.patch` */
  readonly qemuVersion?: string;
  /** 0: the platform's default window. */
  readonly pciHole64Bytes: number;
  readonly hugepages: boolean;
  readonly numGpus: number;
  readonly numNvswitches: number;
  readonly numNics: number;
  readonly numVerityVolumes: number;
  readonly swtpm: boolean;
  readonly hotplugOff: boolean;
  readonly image?: string;
  readonly hostShareMode?: string;
  readonly ovmfVariant?: string;
  readonly attestationVariant: "legacy" | "lite";
  readonly tdxMeasurement?: MeasurementMaterial;
}

const MAX_TEXT_LENGTH = 256 * 1024;
const MAX_BASE64_LENGTH = 64 * 1024;
const U32_MAX = 0xffff_ffff;

/** How a host gives its folder to the VM; each is another device in the ACPI tables. */
const HOST_SHARE_MODES: ReadonlySet<string> = new Set(["", "9p", "vvfat", "vhd"]);

/**
 * @param json the text as it came; at most 256 KiB
 * @throws MeasureError `vm-config-invalid` naming the key
 */
export function parseVmConfig(json: string): VmConfig {
  if (json.length > MAX_TEXT_LENGTH) throw invalid("text", `at most ${MAX_TEXT_LENGTH} characters`, `${json.length}`);
  const keys = parseObject(json, "text");
  const osImageHash = readHash(keys, "os_image_hash");
  const twoPassAddPages = readOptionalBoolean(keys, "qemu_single_pass_add_pages");
  const pic = readOptionalBoolean(keys, "pic");
  const qemuVersion = readOptionalString(keys, "qemu_version");
  const image = readOptionalString(keys, "image");
  const hostShareMode = readString(keys, "host_share_mode");
  if (hostShareMode !== undefined && !HOST_SHARE_MODES.has(hostShareMode))
    throw invalid(
      "host_share_mode",
      [...HOST_SHARE_MODES].map((mode) => JSON.stringify(mode)).join(", "),
      JSON.stringify(hostShareMode.slice(0, 40)),
    );
  const ovmfVariant = readOptionalString(keys, "ovmf_variant");
  const tdxMeasurement = readMaterial(keys, "tdx_measurement");
  return {
    ...(osImageHash && { osImageHash }),
    cpuCount: readInteger(keys, "cpu_count", 0, U32_MAX),
    memoryBytes: readInteger(keys, "memory_size", 0, Number.MAX_SAFE_INTEGER),
    ...(twoPassAddPages !== undefined && { twoPassAddPages }),
    ...(pic !== undefined && { pic }),
    ...(qemuVersion !== undefined && { qemuVersion }),
    pciHole64Bytes: readInteger(keys, "pci_hole64_size", 0, Number.MAX_SAFE_INTEGER),
    hugepages: readBoolean(keys, "hugepages"),
    numGpus: readInteger(keys, "num_gpus", 0, U32_MAX),
    numNvswitches: readInteger(keys, "num_nvswitches", 0, U32_MAX),
    numNics: readInteger(keys, "num_nics", 1, U32_MAX),
    numVerityVolumes: readInteger(keys, "num_verity_volumes", 0, U32_MAX),
    swtpm: readBoolean(keys, "swtpm"),
    hotplugOff: readBoolean(keys, "hotplug_off"),
    ...(image !== undefined && { image }),
    ...(hostShareMode !== undefined && { hostShareMode }),
    ...(ovmfVariant !== undefined && { ovmfVariant }),
    attestationVariant: readVariant(keys),
    ...(tdxMeasurement && { tdxMeasurement }),
  };
}

/** The JSON text that a VMM gives to a guest. `parseVmConfig` of it gives the same configuration. */
export function encodeVmConfig(config: VmConfig): string {
  return JSON.stringify({
    os_image_hash: config.osImageHash ? toHex(config.osImageHash) : "",
    cpu_count: config.cpuCount,
    memory_size: config.memoryBytes,
    qemu_single_pass_add_pages: config.twoPassAddPages,
    pic: config.pic,
    qemu_version: config.qemuVersion,
    pci_hole64_size: config.pciHole64Bytes,
    hugepages: config.hugepages,
    num_gpus: config.numGpus,
    num_nvswitches: config.numNvswitches,
    num_nics: config.numNics === 1 ? undefined : config.numNics,
    num_verity_volumes: config.numVerityVolumes || undefined,
    swtpm: config.swtpm || undefined,
    hotplug_off: config.hotplugOff,
    image: config.image,
    host_share_mode: config.hostShareMode,
    ovmf_variant: config.ovmfVariant,
    tdx_attestation_variant: config.attestationVariant === "lite" ? "lite" : undefined,
    tdx_measurement: config.tdxMeasurement && {
      checksum_file: toBase64(config.tdxMeasurement.checksumFile),
      measurement: toBase64(config.tdxMeasurement.measurement),
    },
    spec_version: 1,
  });
}

type Keys = Readonly<Record<string, unknown>>;

function parseObject(json: string, key: string): Keys {
  let value: unknown;
  try {
    value = parseJson(json, key, { integersAsWritten: true });
  } catch (cause) {
    // Readers differ in which of two values they take, and every reader must measure the same machine.
    if (isCoded(cause, "json-repeated")) throw invalid(String(cause.facts["member"]), "one value", "two", cause);
    throw invalid(key, "JSON", "text that is not JSON", cause);
  }
  return asObject(value, key);
}

function asObject(value: unknown, key: string): Keys {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(key, "an object", kindOf(value));
  return value as Keys;
}

function readInteger(keys: Keys, key: string, absent: number, max: number): number {
  const value = own(keys, key);
  if (value === undefined) return absent;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > max) {
    throw invalid(key, `an integer from 0 to ${max}`, Number.isFinite(value) ? `${String(value)}` : kindOf(value));
  }
  return value;
}

/** Null is no value here, as it is none for the reference's readers. */
function readBoolean(keys: Keys, key: string): boolean {
  const value = own(keys, key);
  if (value === undefined) return false;
  if (typeof value !== "boolean") throw invalid(key, "true or false", kindOf(value));
  return value;
}

function readOptionalBoolean(keys: Keys, key: string): boolean | undefined {
  const value = own(keys, key) ?? undefined;
  if (value !== undefined && typeof value !== "boolean") throw invalid(key, "true or false", kindOf(value));
  return value;
}

function readString(keys: Keys, key: string): string | undefined {
  if (own(keys, key) === null) throw invalid(key, "a string", "null");
  return readOptionalString(keys, key);
}

function readOptionalString(keys: Keys, key: string): string | undefined {
  const value = own(keys, key) ?? undefined;
  if (value !== undefined && typeof value !== "string") throw invalid(key, "a string", kindOf(value));
  return value;
}

function readHash(keys: Keys, key: string): Hash32 | undefined {
  const value = readString(keys, key) ?? "";
  if (value === "") return undefined;
  try {
    return hash32(parseBareHex(value, key), key);
  } catch (cause) {
    throw invalid(key, "64 hex digits or nothing", `${value.length} characters`, cause);
  }
}

function readVariant(keys: Keys): "legacy" | "lite" {
  const key = "tdx_attestation_variant";
  const value = readString(keys, key) ?? "legacy";
  if (value !== "legacy" && value !== "lite") throw invalid(key, "legacy or lite", JSON.stringify(value.slice(0, 40)));
  return value;
}

/** An object, or a string that holds that object: both are on the wire. */
function readMaterial(keys: Keys, key: string): MeasurementMaterial | undefined {
  const value = own(keys, key) ?? undefined;
  if (value === undefined) return undefined;
  const inner = typeof value === "string" ? parseObject(value, key) : asObject(value, key);
  return { checksumFile: readBase64(inner, key, "checksum_file"), measurement: readBase64(inner, key, "measurement") };
}

function readBase64(keys: Keys, outer: string, key: string): Uint8Array {
  const value = own(keys, key);
  const path = `${outer}.${key}`;
  if (typeof value !== "string") throw invalid(path, "base64 text", kindOf(value));
  if (value.length > MAX_BASE64_LENGTH)
    throw invalid(path, `at most ${MAX_BASE64_LENGTH} characters`, `${value.length}`);
  const bytes = fromBase64(value);
  if (bytes === undefined) throw invalid(path, "base64 text", "text that is not base64");
  return bytes;
}

const own = (keys: Keys, key: string): unknown => (Object.hasOwn(keys, key) ? keys[key] : undefined);

const kindOf = (value: unknown): string =>
  value === null ? "null" : Array.isArray(value) ? "an array" : value === undefined ? "nothing" : `a ${typeof value}`;

function invalid(key: string, expected: string, got: string, cause?: unknown): MeasureError {
  return new MeasureError("vm-config-invalid", `vm_config ${key}: expected ${expected}, got ${got}`, { cause });
}
