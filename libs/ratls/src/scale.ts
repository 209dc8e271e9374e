/** The part of SCALE that certificate requests use; canonical forms only. */
import { BytesError, concatBytes, readU64LE, u32le, utf8, utf8Decode } from "@dstack/bytes";
import { RatlsError } from "./errors.ts";

export class ScaleReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #offset = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** A length: low two bits 0 = one byte, 1 = two, 2 = four, in the shortest form that holds it. */
  length(field: string): number {
    const [first] = this.take(1, field) as unknown as [number];
    const mode = first & 3;
    if (mode === 0) return first >> 2;
    if (mode === 3) throw this.fail(`${field}: length above 2^30`);
    const rest = this.take(mode === 1 ? 1 : 3, field);
    let value = first;
    for (let i = 0; i < rest.length; i++) value += rest[i]! * 256 ** (i + 1);
    value = Math.floor(value / 4);
    if (value < (mode === 1 ? 2 ** 6 : 2 ** 14)) throw this.fail(`${field}: length not in its shortest form`);
    return value;
  }

  bytes(field: string): Uint8Array {
    return this.take(this.length(field), field);
  }

  text(field: string): string {
    try {
      return utf8Decode(this.bytes(field), field);
    } catch (cause) {
      if (!(cause instanceof BytesError)) throw cause;
      throw this.fail(`${field} is not UTF-8`);
    }
  }

  bool(field: string): boolean {
    const [byte] = this.take(1, field) as unknown as [number];
    if (byte > 1) throw this.fail(`${field}: expected 00 or 01, got ${byte}`);
    return byte === 1;
  }

  option<T>(field: string, read: () => T): T | undefined {
    return this.bool(field) ? read() : undefined;
  }

  /** A counted list; the count is held against `limit` and the bytes left before anything is made. */
  list<T>(field: string, limit: number, read: () => T): T[] {
    const count = this.length(field);
    if (count > limit || count > this.#bytes.length - this.#offset)
      throw this.fail(`${field}: ${count} items, limit ${limit}`);
    return Array.from({ length: count }, read);
  }

  u64(field: string): bigint {
    return readU64LE(this.take(8, field), 0);
  }

  rest(): Uint8Array {
    return this.#bytes.subarray(this.#offset);
  }

  end(): void {
    if (this.#offset !== this.#bytes.length)
      throw this.fail(`${this.#bytes.length - this.#offset} bytes after the end`);
  }

  take(length: number, field: string): Uint8Array {
    const left = this.#bytes.length - this.#offset;
    if (length > left) throw this.fail(`${field}: needs ${length} bytes, ${left} left`);
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  fail(text: string): RatlsError {
    return new RatlsError("csr-malformed", `${this.#what}: ${text}`);
  }
}

export const scaleBytes = (bytes: Uint8Array): Uint8Array => concatBytes(compact(bytes.length), bytes);
export const scaleText = (text: string): Uint8Array => scaleBytes(utf8(text));
export const scaleBool = (value: boolean): Uint8Array => Uint8Array.of(value ? 1 : 0);
export const scaleOption = <T>(value: T | undefined, encode: (value: T) => Uint8Array): Uint8Array =>
  value === undefined ? Uint8Array.of(0) : concatBytes(Uint8Array.of(1), encode(value));
export const scaleList = <T>(items: readonly T[], encode: (item: T) => Uint8Array): Uint8Array =>
  concatBytes(compact(items.length), ...items.map(encode));

function compact(value: number): Uint8Array {
  if (value < 2 ** 6) return Uint8Array.of(value << 2);
  if (value < 2 ** 14) return u32le(value * 4 + 1).subarray(0, 2);
  if (value < 2 ** 30) return u32le(value * 4 + 2);
  throw new RatlsError("csr-malformed", `certificate request: length ${value} is above 2^30`);
}
