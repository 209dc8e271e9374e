/**
 * App info as certificates carry it, msgpack: an array of 8 byte strings, of 9 with a list of init
 * script hashes (or nil) last, or a map with the field names. Written as 8: older readers fail on 9.
 */
import { decode, encode } from "@msgpack/msgpack";
import { AttestError } from "./errors.ts";

/** The fields as carried; lengths are the reader's to check, since nothing here is verified. */
export interface AppInfoRecord {
  readonly appId: Uint8Array;
  readonly composeHash: Uint8Array;
  readonly instanceId: Uint8Array;
  readonly deviceId: Uint8Array;
  readonly mrSystem: Uint8Array;
  readonly mrAggregated: Uint8Array;
  readonly osImageHash: Uint8Array;
  readonly keyProviderInfo: Uint8Array;
  readonly initScriptHashes?: readonly Uint8Array[];
}

const NAMES = [
  "app_id", "compose_hash", "instance_id", "device_id", "mr_system", "mr_aggregated", "os_image_hash", "key_provider_info",
] as const;
const SCRIPTS = "init_script_hashes";
const LIMITS = { maxArrayLength: 64, maxBinLength: 64 * 1024, maxStrLength: 64, maxMapLength: 16, maxExtLength: 0 };

export function encodeAppInfo(info: AppInfoRecord): Uint8Array {
  return encode([
    info.appId, info.composeHash, info.instanceId, info.deviceId,
    info.mrSystem, info.mrAggregated, info.osImageHash, info.keyProviderInfo,
  ]);
}

/** Any of the three forms. @throws AttestError `app-info-malformed` */
export function decodeAppInfo(bytes: Uint8Array): AppInfoRecord {
  let value: unknown;
  try {
    value = decode(bytes, LIMITS);
  } catch (cause) {
    throw new AttestError("app-info-malformed", "app info: not a msgpack document", { cause });
  }
  const fields = Array.isArray(value) ? positional(value) : named(value);
  const [appId, composeHash, instanceId, deviceId, mrSystem, mrAggregated, osImageHash, keyProviderInfo] =
    NAMES.map((name, index) => bytesOf(fields[index], name)) as FixedFields;
  if (mrSystem.length !== 32 || mrAggregated.length !== 32) throw malformed("mr_system and mr_aggregated are not of 32 bytes");
  const scripts = scriptHashes(fields[NAMES.length]);
  return {
    appId, composeHash, instanceId, deviceId, mrSystem, mrAggregated, osImageHash, keyProviderInfo,
    ...(scripts === undefined ? {} : { initScriptHashes: scripts }),
  };
}

type FixedFields = [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];

function positional(value: unknown[]): unknown[] {
  if (value.length !== NAMES.length && value.length !== NAMES.length + 1) throw malformed(`${value.length} values, expected 8 or 9`);
  return value;
}

function named(value: unknown): unknown[] {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) throw malformed("neither an array nor a map");
  const record = value as Record<string, unknown>;
  return [...NAMES, SCRIPTS].map((key) => record[key]);
}

function scriptHashes(value: unknown): Uint8Array[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || value.length > 5) throw malformed(`${SCRIPTS} is not a list of at most 5`);
  return value.map((item: unknown) => {
    const hash = bytesOf(item, SCRIPTS);
    if (hash.length !== 32) throw malformed(`${SCRIPTS}: ${hash.length} bytes, expected 32`);
    return hash;
  });
}

function bytesOf(value: unknown, name: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw malformed(`${name} is not a byte string`);
  return value;
}

const malformed = (text: string): AttestError => new AttestError("app-info-malformed", `app info: ${text}`);
