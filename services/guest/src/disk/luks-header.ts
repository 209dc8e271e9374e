/**
 * LUKS2 headers as this system makes them, checked before a key comes near a disk.
 *
 * The host owns the disk. cryptsetup follows what a header says, and a header may say "no cipher"
 * (CVE-2025-59054), so only the one form that we write is accepted, in both copies, and the very
 * bytes that were checked are what cryptsetup gets.
 *
 * Header copy = binary part (4096 bytes, big-endian: magic 6, version u16, size u64, sequence u64,
 * label 48, checksum algorithm 32, salt 64, uuid 40, subsystem 48, offset u64, padding 184,
 * checksum 64) then JSON text up to the first NUL. The second copy lies directly after the first.
 */
import { createHash } from "node:crypto";
import { equalBytes, isAllZero, parseHex, parseJson, utf8, utf8Decode } from "@dstack/bytes";
import { GuestError } from "../errors.ts";

/** Where the encrypted data begins: the header area before it is 16 MiB. */
export const LUKS_DATA_OFFSET = 16_777_216;
const LUKS_KEY_BYTES = 64;

const BINARY_BYTES = 4096;
const MAX_HEADER_BYTES = 16_777_216;
const PRIMARY_MAGIC = parseHex("4c554b53babe");
const SECONDARY_MAGIC = parseHex("534b554cbabe");
const CHECKSUM_OFFSET = 448;

/** What the first bytes of a disk say. */
export type DiskContent = "blank" | "luks" | "damaged-luks" | "other";

/** Judges a disk by its beginning (at least 64 KiB where the disk has them). */
export function diskContent(start: Uint8Array): DiskContent {
  if (equalBytes(start.subarray(0, 6), PRIMARY_MAGIC)) return "luks";
  // Every place where a second copy may lie, as the size of the first one is not known.
  for (let offset = 0x4000; offset + 6 <= start.length; offset *= 2) {
    if (equalBytes(start.subarray(offset, offset + 6), SECONDARY_MAGIC)) return "damaged-luks";
  }
  return isAllZero(start) ? "blank" : "other";
}

/**
 * Accepts a LUKS2 header area only in the form that we write. Returns how many of its bytes mean
 * anything: both header copies and the key slot.
 * @param area the beginning of the disk, at least both header copies
 * @throws GuestError `disk-invalid` naming the field
 */
export function validateLuksHeader(area: Uint8Array): number {
  const first = validateCopy(area, 0, 0);
  const second = validateCopy(area, 1, first.headerBytes);
  return Math.max(first.usedBytes, second.usedBytes);
}

function validateCopy(
  area: Uint8Array,
  index: 0 | 1,
  offset: number,
): { readonly headerBytes: number; readonly usedBytes: number } {
  const where = index === 0 ? "first" : "second";
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  if (area.length < offset + BINARY_BYTES) throw invalid(`${where} copy is cut off`);
  const binary = area.subarray(offset, offset + BINARY_BYTES);
  if (!equalBytes(binary.subarray(0, 6), index === 0 ? PRIMARY_MAGIC : SECONDARY_MAGIC)) throw invalid("magic", where);
  if (view.getUint16(offset + 6) !== 2) throw invalid("version", where);
  const headerBytes = Number(view.getBigUint64(offset + 8));
  if (headerBytes <= BINARY_BYTES || headerBytes > MAX_HEADER_BYTES) throw invalid("header size", where);
  if (index === 1 && headerBytes !== offset) throw invalid("header size", where);
  if (!isAllZero(binary.subarray(24, 72))) throw invalid("label", where);
  if (!equalBytes(binary.subarray(72, 104), padded("sha256", 32))) throw invalid("checksum algorithm", where);
  if (!isAllZero(binary.subarray(208, 256))) throw invalid("subsystem", where);
  if (view.getBigUint64(offset + 256) !== BigInt(offset)) throw invalid("header offset", where);
  if (area.length < offset + headerBytes) throw invalid(`${where} copy is cut off`);
  const whole = area.slice(offset, offset + headerBytes);
  const stored = whole.slice(CHECKSUM_OFFSET, CHECKSUM_OFFSET + 64);
  whole.fill(0, CHECKSUM_OFFSET, CHECKSUM_OFFSET + 64);
  const digest = new Uint8Array(createHash("sha256").update(whole).digest());
  if (!equalBytes(stored.subarray(0, 32), digest)) throw invalid("checksum", where);
  const usedBytes = validateMetadata(
    parseMetadata(area.subarray(offset + BINARY_BYTES, offset + headerBytes), where),
    headerBytes,
    where,
  );
  return { headerBytes, usedBytes };
}

type Json = Readonly<Record<string, unknown>>;

function parseMetadata(bytes: Uint8Array, where: string): Json {
  const end = bytes.indexOf(0);
  try {
    return objectAt(parseJson(utf8Decode(end < 0 ? bytes : bytes.subarray(0, end))), "metadata", where);
  } catch (cause) {
    if (cause instanceof GuestError) throw cause;
    throw new GuestError("disk-invalid", `Invalid LUKS metadata in the ${where} header copy: not JSON`, { cause });
  }
}

/** Returns where the key slot's area ends. */
function validateMetadata(metadata: Json, headerBytes: number, where: string): number {
  only(metadata, ["keyslots", "tokens", "segments", "digests", "config"], "metadata", where);
  const keyslot = single(metadata, "keyslots", where);
  const segment = single(metadata, "segments", where);
  const digest = single(metadata, "digests", where);
  if (Object.keys(objectAt(metadata["tokens"] ?? {}, "tokens", where)).length > 0) throw invalid("tokens", where);
  validateConfig(objectAt(metadata["config"], "config", where), where);
  const usedBytes = validateKeyslot(keyslot, headerBytes, where);
  validateSegment(segment, where);
  only(digest, ["type", "keyslots", "segments", "hash", "iterations", "salt", "digest"], "digest", where);
  expect(digest["type"] === "pbkdf2", "digest type", where);
  expect(digest["hash"] === "sha256", "digest hash", where);
  expect(isListOf(digest["keyslots"], "0"), "digest keyslots", where);
  expect(isListOf(digest["segments"], "0"), "digest segments", where);
  return usedBytes;
}

function validateConfig(config: Json, where: string): void {
  expect(config["flags"] === undefined, "config flags", where);
  expect(config["requirements"] === undefined, "config requirements", where);
  only(config, ["json_size", "keyslots_size"], "config", where);
}

function validateKeyslot(keyslot: Json, headerBytes: number, where: string): number {
  only(keyslot, ["type", "key_size", "af", "area", "kdf"], "keyslot", where);
  expect(keyslot["type"] === "luks2", "keyslot type", where);
  expect(keyslot["key_size"] === LUKS_KEY_BYTES, "keyslot key size", where);
  const af = objectAt(keyslot["af"], "keyslot af", where);
  only(af, ["type", "stripes", "hash"], "keyslot af", where);
  expect(af["type"] === "luks1" && af["hash"] === "sha256" && af["stripes"] === 4000, "keyslot af", where);
  const kdf = objectAt(keyslot["kdf"], "keyslot kdf", where);
  only(kdf, ["type", "hash", "iterations", "salt"], "keyslot kdf", where);
  expect(kdf["type"] === "pbkdf2" && kdf["hash"] === "sha256", "keyslot kdf", where);
  const area = objectAt(keyslot["area"], "keyslot area", where);
  only(area, ["type", "offset", "size", "encryption", "key_size"], "keyslot area", where);
  expect(area["type"] === "raw", "keyslot area type", where);
  expect(area["encryption"] === "aes-xts-plain64", "keyslot encryption", where);
  expect(area["key_size"] === LUKS_KEY_BYTES, "keyslot area key size", where);
  const begin = size(area["offset"], "keyslot area", where);
  const length = size(area["size"], "keyslot area", where);
  expect(begin >= 2 * headerBytes && begin + length <= LUKS_DATA_OFFSET, "keyslot area", where);
  return begin + length;
}

function validateSegment(segment: Json, where: string): void {
  only(segment, ["type", "offset", "size", "iv_tweak", "encryption", "sector_size"], "segment", where);
  expect(segment["type"] === "crypt", "segment type", where);
  expect(segment["offset"] === String(LUKS_DATA_OFFSET), "segment offset", where);
  expect(segment["size"] === "dynamic", "segment size", where);
  expect(segment["iv_tweak"] === "0", "segment iv_tweak", where);
  expect(segment["encryption"] === "aes-xts-plain64", "segment encryption", where);
  expect(segment["sector_size"] === 512, "segment sector size", where);
}

function single(metadata: Json, name: string, where: string): Json {
  const group = objectAt(metadata[name], name, where);
  if (Object.keys(group).join() !== "0") throw invalid(name, where);
  return objectAt(group["0"], name, where);
}

function objectAt(value: unknown, what: string, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(what, where);
  return value as Json;
}

function only(value: Json, known: readonly string[], what: string, where: string): void {
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`${what}: unexpected member "${unknown.slice(0, 40)}"`, where);
}

/** 64-bit numbers are decimal text in LUKS2's JSON. */
function size(value: unknown, what: string, where: string): number {
  if (typeof value !== "string" || !/^(?:0|[1-9]\d{0,14})$/.test(value)) throw invalid(what, where);
  return Number(value);
}

const isListOf = (value: unknown, item: string): boolean =>
  Array.isArray(value) && value.length === 1 && value[0] === item;

function expect(holds: boolean, what: string, where: string): void {
  if (!holds) throw invalid(what, where);
}

function padded(text: string, length: number): Uint8Array {
  const out = new Uint8Array(length);
  out.set(utf8(text));
  return out;
}

const invalid = (what: string, where?: string): GuestError =>
  new GuestError("disk-invalid", `Invalid LUKS ${what}${where === undefined ? "" : ` (${where} header copy)`}`);
