/** The part of SCALE that attestations use: compact lengths, byte vectors, strings; canonical forms only. */
import { BytesError, concatBytes, u32le, utf8, utf8Decode } from "@dstack/bytes";
import { AttestError } from "./errors.ts";
import { Cursor } from "./cursor.ts";

export class ScaleReader extends Cursor {
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

  /** A counted list; the count is held against `limit` and the bytes left before anything is made. */
  list<T>(field: string, limit: number, minimumBytes: number, read: () => T): T[] {
    const count = this.compact(field);
    if (count > limit) throw this.fail(`${field}: ${count} items, limit ${limit}`);
    if (count * minimumBytes > this.remaining)
      throw this.fail(`${field}: ${count} items do not fit in ${this.remaining} bytes`);
    return Array.from({ length: count }, read);
  }
}

export function scaleCompact(value: number): Uint8Array {
  if (value < 1 << 6) return Uint8Array.of(value << 2);
  if (value < 1 << 14) return u32le(value * 4 + 1).subarray(0, 2);
  if (value < 2 ** 30) return u32le(value * 4 + 2);
  throw new AttestError("attestation-unencodable", `SCALE: length ${value} is above 2^30`);
}

export const scaleBytes = (bytes: Uint8Array): Uint8Array => concatBytes(scaleCompact(bytes.length), bytes);
export const scaleText = (text: string): Uint8Array => scaleBytes(utf8(text));
export const scaleList = <T>(items: readonly T[], encode: (item: T) => Uint8Array): Uint8Array =>
  concatBytes(scaleCompact(items.length), ...items.map(encode));
