/**
 * MRCONFIGID: 48 bytes that the host sets at launch and the quote carries.
 * V1 = 01, compose hash, zeros; V2 = 02, Keccak-256(compose hash, app id, kind, key provider id), zeros;
 * V3 = 03, SHA-256("dstack-mr-config-v3:" 00 document), zeros. All zeros: nothing is bound.
 */
import { BytesError, concatBytes, hash32, hash48, parseBareHex, parseJson, utf8 } from "@dstack/bytes";
import type { AppId, Hash32, Hash48 } from "@dstack/bytes";
import { excerpt } from "@dstack/errors";
import { sha256 } from "#sha2";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { AttestError } from "./errors.ts";

export type KeyProviderKind = "none" | "local" | "kms" | "tpm";

export const KEY_PROVIDER_KINDS: readonly KeyProviderKind[] = ["none", "local", "kms", "tpm"];

export const mrConfigIdV1 = (composeHash: Hash32): Hash48 => withVersion(1, composeHash);

export function mrConfigIdV2(
  composeHash: Hash32,
  app: AppId,
  kind: KeyProviderKind,
  keyProviderId: Uint8Array,
): Hash48 {
  const index = Uint8Array.of(KEY_PROVIDER_KINDS.indexOf(kind));
  return withVersion(2, hash32(keccak_256(concatBytes(composeHash, app, index, keyProviderId))));
}

/** Over the document's text exactly as given, never a re-serialisation. */
export const mrConfigIdV3 = (document: string): Hash48 =>
  withVersion(3, hash32(sha256(concatBytes(utf8("dstack-mr-config-v3:"), Uint8Array.of(0), utf8(document)))));

export interface MrConfigV3 {
  readonly composeHash: Hash32;
  readonly keyProvider: KeyProviderKind;
  readonly appId?: Uint8Array;
  readonly gpuPolicyHash?: Hash32;
  readonly keyProviderId?: Uint8Array;
  readonly instanceId?: Uint8Array;
  readonly initScriptHashes?: readonly Hash32[];
}

const KEYS: readonly string[] = [
  "version",
  "app_id",
  "compose_hash",
  "gpu_policy_hash",
  "key_provider",
  "key_provider_id",
  "instance_id",
  "init_script_hashes",
];

/** A V3 document; unknown keys are refused. @throws AttestError `mr-config-malformed` */
export function parseMrConfigV3(document: string): MrConfigV3 {
  let value: unknown;
  try {
    value = parseJson(document, "mr_config", { integersAsWritten: true });
  } catch (cause) {
    throw new AttestError("mr-config-malformed", "mr_config: not valid JSON", { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("not an object");
  const fields = value as Record<string, unknown>;
  for (const key of Object.keys(fields)) if (!KEYS.includes(key)) throw malformed(`unknown key ${key.slice(0, 40)}`);
  if ((fields["version"] ?? 3) !== 3) throw malformed(`version ${String(fields["version"])}, expected 3`);
  const keyProvider = KEY_PROVIDER_KINDS.find((kind) => kind === fields["key_provider"]);
  if (keyProvider === undefined) {
    const got = fields["key_provider"];
    const shown = typeof got === "string" ? `"${excerpt(got, { maxChars: 40 })}"` : typeof got;
    throw malformed(`key_provider is ${shown}, expected none, local, kms or tpm`);
  }
  const scripts = fields["init_script_hashes"];
  if (scripts !== undefined && (!Array.isArray(scripts) || scripts.length > 5))
    throw malformed("init_script_hashes is not a list of at most 5");
  const bytes = (key: string, length?: number): Uint8Array | undefined =>
    fields[key] === undefined ? undefined : hexOf(fields[key], key, length);
  const appId = bytes("app_id", 20);
  const gpuPolicyHash = bytes("gpu_policy_hash", 32);
  const keyProviderId = bytes("key_provider_id");
  const instanceId = bytes("instance_id");
  return {
    composeHash: hash32(hexOf(fields["compose_hash"], "compose_hash", 32)),
    keyProvider,
    ...(appId === undefined ? {} : { appId }),
    ...(gpuPolicyHash === undefined ? {} : { gpuPolicyHash: hash32(gpuPolicyHash) }),
    ...(keyProviderId === undefined ? {} : { keyProviderId }),
    ...(instanceId === undefined ? {} : { instanceId }),
    ...(scripts === undefined
      ? {}
      : { initScriptHashes: scripts.map((item: unknown) => hash32(hexOf(item, "init_script_hashes", 32))) }),
  };
}

/** The launch document inside a VM configuration: its text `mr_config`; undefined where there is none. */
export function mrConfigOf(vmConfig: string): string | undefined {
  let value: unknown;
  try {
    value = parseJson(vmConfig);
  } catch {
    return undefined; // Whoever needs the configuration itself says that it is broken.
  }
  const document: unknown =
    typeof value === "object" && value !== null ? (value as Record<string, unknown>)["mr_config"] : undefined;
  return typeof document === "string" && document !== "" ? document : undefined;
}

function hexOf(value: unknown, key: string, length?: number): Uint8Array {
  if (typeof value !== "string") throw malformed(`${key} is not a string`);
  let bytes: Uint8Array;
  try {
    bytes = parseBareHex(value, key);
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause;
    throw new AttestError("mr-config-malformed", `mr_config: ${cause.message}`, { cause });
  }
  if (length !== undefined && bytes.length !== length)
    throw malformed(`${key}: expected ${length} bytes, got ${bytes.length}`);
  return bytes;
}

function withVersion(version: 1 | 2 | 3, digest: Hash32): Hash48 {
  const out = new Uint8Array(48);
  out[0] = version;
  out.set(digest, 1);
  return hash48(out);
}

const malformed = (text: string): AttestError => new AttestError("mr-config-malformed", `mr_config: ${text}`);
