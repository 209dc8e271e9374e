/** The part of SCALE that attestations and certificate requests use; canonical forms only. */
import { ByteCursor } from "./byte-cursor.ts";
import { concatBytes, u32le, utf8, utf8Decode } from "./buffers.ts";
import { BytesError } from "./errors.ts";

export class ScaleReader extends ByteCursor {
  /**
   * A compact number up to 2^30-1: low two bits 0 = 1 byte, 1 = 2 bytes, 2 = 4 bytes.
   * The big form (3) can only mean a length that no limit here allows.
   */
  compact(field: string): number {
    const first = this.u8(field);
    const mode = first & 3;
    if (mode === 0) return first >> 2;
    if (mode === 3) throw this.fail(`${field}: length above 2^30`);
    const rest = this.take(mode === 1 ? 1 : 3, field);
    let value = first;
    rest.forEach((byte, index) => {
      value += byte * 256 ** (index + 1);
    });
    value = Math.floor(value / 4);
    if (value < (mode === 1 ? 1 << 6 : 1 << 14)) throw this.fail(`${field}: compact number not in its shortest form`);
    return value;
  }

  bytes(field: string): Uint8Array {
    return this.take(this.compact(field), field);
  }

  text(field: string): string {
    try {
      return utf8Decode(this.bytes(field), field);
    } catch (cause) {
      if (!(cause instanceof BytesError)) throw cause;
      throw this.fail(cause.message, cause);
    }
  }

  bool(field: string): boolean {
    const byte = this.u8(field);
    if (byte > 1) throw this.fail(`${field}: expected 00 or 01, got ${byte}`);
    return byte === 1;
  }

  option<T>(field: string, read: () => T): T | undefined {
    return this.bool(field) ? read() : undefined;
  }

  /** A counted list; the count is held against `limit` and the bytes left before anything is made. */
  list<T>(field: string, limit: number, minimumBytes: number, read: () => T): T[] {
    const count = this.compact(field);
    if (count > limit) throw this.fail(`${field}: ${count} items, limit ${limit}`);
    if (count * minimumBytes > this.remaining)
      throw this.fail(`${field}: ${count} items do not fit in ${this.remaining} bytes`);
    return Array.from({ length: count }, read);
  }
}

/** @throws BytesError `number-out-of-range` from 2^30 on */
export function scaleCompact(value: number): Uint8Array {
  if (value < 1 << 6) return Uint8Array.of(value << 2);
  if (value < 1 << 14) return u32le(value * 4 + 1).subarray(0, 2);
  if (value < 2 ** 30) return u32le(value * 4 + 2);
  throw new BytesError("number-out-of-range", `SCALE: length ${value} is above 2^30`);
}

export const scaleBytes = (bytes: Uint8Array): Uint8Array => concatBytes(scaleCompact(bytes.length), bytes);
export const scaleText = (text: string): Uint8Array => scaleBytes(utf8(text));
export const scaleBool = (value: boolean): Uint8Array => Uint8Array.of(value ? 1 : 0);
export const scaleOption = <T>(value: T | undefined, encode: (value: T) => Uint8Array): Uint8Array =>
  value === undefined ? Uint8Array.of(0) : concatBytes(Uint8Array.of(1), encode(value));
export const scaleList = <T>(items: readonly T[], encode: (item: T) => Uint8Array): Uint8Array =>
  concatBytes(scaleCompact(items.length), ...items.map(encode));
