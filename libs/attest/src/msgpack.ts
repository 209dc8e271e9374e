/**
 * The part of MessagePack that attestations and app info use: nil, unsigned integers, text, bytes,
 * arrays and maps with text keys, each in its shortest form.
 *
 * uint = 00..7f | cc u8 | cd u16 | ce u32      text  = a0..bf | d9 u8 | da u16 | db u32, UTF-8
 * bin  = c4 u8 | c5 u16 | c6 u32               array = 90..9f | dc u16 | dd u32
 * map  = 80..8f | de u16 | df u32              nil   = c0          (all lengths big-endian)
 */
import { BytesError, concatBytes, utf8, utf8Decode } from "@dstack/bytes";
import { Cursor } from "./cursor.ts";

const NIL = 0xc0;
const MAX_DEPTH = 8;

export class MsgpackReader extends Cursor {
  /** An unsigned integer up to `max`. */
  uint(max: number, field: string): number {
    const marker = this.u8(field);
    const value = marker < 0x80 ? marker : this.#length(marker, 0xcc, 0x80, field, "an unsigned integer");
    if (value > max) throw this.fail(`${field}: ${value}, expected 0 to ${max}`);
    return value;
  }

  text(field: string): string {
    const marker = this.u8(field);
    const length = marker >= 0xa0 && marker <= 0xbf ? marker - 0xa0 : this.#length(marker, 0xd9, 32, field, "text");
    try {
      return utf8Decode(this.take(length, field), field);
    } catch (cause) {
      if (!(cause instanceof BytesError)) throw cause;
      throw this.fail(cause.message, cause);
    }
  }

  /** Bytes: bin, or the array of integers that some writers make of them. */
  bytes(field: string): Uint8Array {
    const marker = this.u8(field);
    if (!isArray(marker)) return this.take(this.#length(marker, 0xc4, 0, field, "bytes"), field);
    const out = new Uint8Array(this.#count(marker, 0x90, 0xdc, 1, field, "bytes"));
    for (let i = 0; i < out.length; i++) out[i] = this.uint(255, field);
    return out;
  }

  /** Whether the next value is text, which stays where it is. */
  isText(): boolean {
    const marker = this.peek();
    return marker !== undefined && isText(marker);
  }

  /** The number of items of an array, held against the bytes left. */
  arrayLength(field: string): number {
    return this.#count(this.u8(field), 0x90, 0xdc, 1, field, "an array");
  }

  /** The number of entries of a map, held against the bytes left. */
  mapLength(field: string): number {
    return this.#count(this.u8(field), 0x80, 0xde, 2, field, "a map");
  }

  /** Opens a map that must have exactly `count` entries. */
  mapOf(count: number, field: string): void {
    const entries = this.mapLength(field);
    if (entries !== count) throw this.fail(`${field}: ${entries} keys, expected ${count}`);
  }

  /** The next entry of a map: this key, and the value that `read` reads. */
  entry<T>(expected: string, read: (field: string) => T): T {
    const key = this.text("key");
    if (key !== expected) throw this.fail(`key ${JSON.stringify(key.slice(0, 40))}, expected ${expected}`);
    return read(expected);
  }

  /** Whether the next value is nil, which is then consumed. */
  takeNil(): boolean {
    const isNil = this.peek() === NIL;
    if (isNil) this.take(1, "nil");
    return isNil;
  }

  /** Passes over one value of the forms above. */
  skip(field: string, depth = 0): void {
    if (depth === MAX_DEPTH) throw this.fail(`${field}: nested deeper than ${MAX_DEPTH}`);
    const marker = this.peek();
    if (marker === undefined || marker === NIL) {
      this.take(1, field);
    } else if (isMap(marker)) {
      for (let left = 2 * this.mapLength(field); left > 0; left--) this.skip(field, depth + 1);
    } else if (isArray(marker)) {
      for (let left = this.arrayLength(field); left > 0; left--) this.skip(field, depth + 1);
    } else if (isText(marker)) {
      this.text(field);
    } else if (marker >= 0xc4 && marker <= 0xc6) {
      this.bytes(field);
    } else {
      this.uint(0xffff_ffff, field);
    }
  }

  /** A length or number behind the marker `first` (8 bits) or one of its two successors; below `short` there is a shorter form. */
  #length(marker: number, first: number, short: number, field: string, what: string): number {
    const width = marker === first ? 1 : marker === first + 1 ? 2 : marker === first + 2 ? 4 : undefined;
    if (width === undefined) throw this.fail(`${field}: marker ${hex(marker)}, expected ${what}`);
    return this.#bigEndian(width, width === 1 ? short : 256 ** (width / 2), field);
  }

  /** A count in the marker's low bits, or 16 or 32 bits behind `first`. */
  #count(marker: number, fix: number, first: number, minimumBytes: number, field: string, what: string): number {
    const width = marker === first ? 2 : marker === first + 1 ? 4 : undefined;
    if (width === undefined && (marker & 0xf0) !== fix)
      throw this.fail(`${field}: marker ${hex(marker)}, expected ${what}`);
    const count = width === undefined ? marker & 0x0f : this.#bigEndian(width, width === 2 ? 16 : 0x1_0000, field);
    if (count * minimumBytes > this.remaining)
      throw this.fail(`${field}: ${count} items do not fit in ${this.remaining} bytes`);
    return count;
  }

  /** A number of `width` bytes; below `least` there is a shorter form of it. */
  #bigEndian(width: number, least: number, field: string): number {
    const value = this.take(width, field).reduce((sum, byte) => sum * 256 + byte, 0);
    if (value < least) throw this.fail(`${field}: ${value} is not in its shortest form`);
    return value;
  }
}

const isArray = (marker: number): boolean => (marker & 0xf0) === 0x90 || marker === 0xdc || marker === 0xdd;
const isMap = (marker: number): boolean => (marker & 0xf0) === 0x80 || marker === 0xde || marker === 0xdf;
const isText = (marker: number): boolean => (marker & 0xe0) === 0xa0 || (marker >= 0xd9 && marker <= 0xdb);
const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, "0")}`;

export const packUint = (value: number): Uint8Array =>
  value < 0x80 ? Uint8Array.of(value) : withLength(value, [0xcc, 0xcd, 0xce]);
export const packBin = (bytes: Uint8Array): Uint8Array =>
  concatBytes(withLength(bytes.length, [0xc4, 0xc5, 0xc6]), bytes);
export const packArray = (items: readonly Uint8Array[]): Uint8Array =>
  concatBytes(head(items.length, 0x90, 0xdc), ...items);

export function packText(text: string): Uint8Array {
  const bytes = utf8(text);
  return concatBytes(
    bytes.length < 32 ? Uint8Array.of(0xa0 + bytes.length) : withLength(bytes.length, [0xd9, 0xda, 0xdb]),
    bytes,
  );
}

/** A map; the order of the entries is that of the wire. */
export const packMap = (entries: readonly (readonly [key: string, value: Uint8Array])[]): Uint8Array =>
  concatBytes(head(entries.length, 0x80, 0xde), ...entries.flatMap(([key, value]) => [packText(key), value]));

/** Bytes as an array of integers, as some fields have them on the wire. */
export function packBytesAsArray(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(2 * bytes.length);
  let end = 0;
  for (const byte of bytes) {
    if (byte >= 0x80) out[end++] = 0xcc;
    out[end++] = byte;
  }
  return concatBytes(head(bytes.length, 0x90, 0xdc), out.subarray(0, end));
}

function head(count: number, fix: number, first: number): Uint8Array {
  return count < 16 ? Uint8Array.of(fix + count) : withLength(count, [undefined, first, first + 1]);
}

function withLength(length: number, [one, two, four]: readonly [number | undefined, number, number]): Uint8Array {
  if (length < 0x100 && one !== undefined) return Uint8Array.of(one, length);
  if (length < 0x1_0000) return Uint8Array.of(two, length >> 8, length & 0xff);
  return Uint8Array.of(four, length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff);
}
