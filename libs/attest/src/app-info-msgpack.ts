/**
 * App info as certificates carry it, msgpack: an array of 8 byte strings, of 9 with a list of init
 * script hashes (or nil) last, or a map with the field names. Written as 8: older readers fail on 9.
 */
import { AttestError } from "./errors.ts";
import { MsgpackReader, packArray, packBin } from "./msgpack.ts";

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
  "app_id",
  "compose_hash",
  "instance_id",
  "device_id",
  "mr_system",
  "mr_aggregated",
  "os_image_hash",
  "key_provider_info",
] as const;
const SCRIPTS = "init_script_hashes";
const MAX_SCRIPTS = 5;
const MAX_BYTES = 256 * 1024;

export function encodeAppInfo(info: AppInfoRecord): Uint8Array {
  return packArray(
    [
      info.appId,
      info.composeHash,
      info.instanceId,
      info.deviceId,
      info.mrSystem,
      info.mrAggregated,
      info.osImageHash,
      info.keyProviderInfo,
    ].map(packBin),
  );
}

/**
 * Any of the three forms. Fields of a map that are not known here are passed over: newer builds may add some.
 * @throws AttestError `app-info-malformed`
 */
export function decodeAppInfo(bytes: Uint8Array): AppInfoRecord {
  if (bytes.length > MAX_BYTES)
    throw new AttestError("app-info-malformed", `app info: ${bytes.length} bytes, limit ${MAX_BYTES}`);
  const reader = new MsgpackReader(bytes, "app info", "app-info-malformed");
  const isArray = ((reader.peek() ?? 0) & 0xf0) === 0x90;
  const fields = isArray ? readPositional(reader) : readNamed(reader);
  reader.end();
  const take = (name: (typeof NAMES)[number]): Uint8Array => {
    const value = fields.values.get(name);
    if (value === undefined) throw reader.fail(`${name} is missing`);
    return value;
  };
  const measurement = (name: "mr_system" | "mr_aggregated"): Uint8Array => {
    const value = take(name);
    if (value.length !== 32) throw reader.fail(`${name} of ${value.length} bytes, expected 32`);
    return value;
  };
  return {
    appId: take("app_id"),
    composeHash: take("compose_hash"),
    instanceId: take("instance_id"),
    deviceId: take("device_id"),
    mrSystem: measurement("mr_system"),
    mrAggregated: measurement("mr_aggregated"),
    osImageHash: take("os_image_hash"),
    keyProviderInfo: take("key_provider_info"),
    ...(fields.scripts === undefined ? {} : { initScriptHashes: fields.scripts }),
  };
}

interface Fields {
  readonly values: ReadonlyMap<string, Uint8Array>;
  readonly scripts: readonly Uint8Array[] | undefined;
}

function readPositional(reader: MsgpackReader): Fields {
  const count = reader.arrayLength("app info");
  if (count !== NAMES.length && count !== NAMES.length + 1) throw reader.fail(`${count} values, expected 8 or 9`);
  const values = new Map(NAMES.map((name) => [name, reader.bytes(name)]));
  return { values, scripts: count > NAMES.length ? readScripts(reader) : undefined };
}

function readNamed(reader: MsgpackReader): Fields {
  const values = new Map<string, Uint8Array>();
  const seen = new Set<string>();
  let scripts: readonly Uint8Array[] | undefined;
  for (let left = reader.mapLength("fields"); left > 0; left--) {
    const key = reader.text("key");
    if (seen.has(key)) throw reader.fail(`${JSON.stringify(key.slice(0, 40))} comes twice`);
    seen.add(key);
    if (key === SCRIPTS) scripts = readScripts(reader);
    else if (NAMES.some((name) => name === key)) values.set(key, reader.bytes(key));
    else reader.skip("unknown field");
  }
  return { values, scripts };
}

function readScripts(reader: MsgpackReader): Uint8Array[] | undefined {
  if (reader.takeNil()) return undefined;
  const count = reader.arrayLength(SCRIPTS);
  if (count > MAX_SCRIPTS) throw reader.fail(`${SCRIPTS}: ${count} items, limit ${MAX_SCRIPTS}`);
  return Array.from({ length: count }, () => {
    const hash = reader.bytes(SCRIPTS);
    if (hash.length !== 32) throw reader.fail(`${SCRIPTS}: ${hash.length} bytes, expected 32`);
    return hash;
  });
}
