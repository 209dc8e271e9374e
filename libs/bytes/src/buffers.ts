import { BytesError } from "./errors.ts";

/** Parts joined in order into one new array. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** Same length and content. Not for secrets: use `timingSafeEqual` there. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function isAllZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/**
 * Strict UTF-8: a byte order mark stays, an ill-formed sequence is refused.
 * @throws BytesError `utf8-invalid`
 */
export function utf8Decode(bytes: Uint8Array, what = "text"): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new BytesError("utf8-invalid", `${what}: not valid UTF-8`, { cause });
  }
}

export const u16le = (value: number): Uint8Array => integer(value, 2, true);
export const u32le = (value: number): Uint8Array => integer(value, 4, true);
export const u32be = (value: number): Uint8Array => integer(value, 4, false);
export const u64le = (value: bigint): Uint8Array => integer64(value, true);
export const u64be = (value: bigint): Uint8Array => integer64(value, false);

export const readU16LE = (bytes: Uint8Array, offset: number): number => view(bytes, offset, 2).getUint16(0, true);
export const readU32LE = (bytes: Uint8Array, offset: number): number => view(bytes, offset, 4).getUint32(0, true);
export const readU64LE = (bytes: Uint8Array, offset: number): bigint => view(bytes, offset, 8).getBigUint64(0, true);

function integer(value: number, size: 2 | 4, littleEndian: boolean): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
    throw new BytesError("number-out-of-range", `${value} does not fit in ${8 * size} bits`);
  }
  const out = new Uint8Array(size);
  const data = new DataView(out.buffer);
  if (size === 2) data.setUint16(0, value, littleEndian);
  else data.setUint32(0, value, littleEndian);
  return out;
}

function integer64(value: bigint, littleEndian: boolean): Uint8Array {
  if (value < 0n || value >= 1n << 64n) {
    throw new BytesError("number-out-of-range", `${value} does not fit in 64 bits`);
  }
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, value, littleEndian);
  return out;
}

function view(bytes: Uint8Array, offset: number, size: number): DataView {
  if (offset < 0 || offset + size > bytes.length) {
    throw new BytesError("out-of-bounds", `read of ${size} bytes at ${offset} of ${bytes.length}`);
  }
  return new DataView(bytes.buffer, bytes.byteOffset + offset, size);
}
