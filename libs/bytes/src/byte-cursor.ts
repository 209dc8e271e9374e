import { readU16LE, readU32LE, readU64LE } from "./buffers.ts";

/** Makes the error of whoever reads: `text` says what was read, which field, and what is wrong. */
export type Refuse = (text: string, cause?: unknown) => Error;

/** Reads fields of a binary form front to back and refuses to run past its end. */
export class ByteCursor {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  readonly #refuse: Refuse;
  #offset: number;

  constructor(bytes: Uint8Array, what: string, refuse: Refuse, offset = 0) {
    this.#bytes = bytes;
    this.#what = what;
    this.#refuse = refuse;
    this.#offset = offset;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** The next `length` bytes as a view. */
  take(length: number, field: string): Uint8Array {
    if (length > this.remaining) {
      throw this.fail(`${field}: needs ${length} bytes, ${this.remaining} left at offset ${this.#offset}`);
    }
    const out = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return out;
  }

  /** What has not been read, as a view; it stays unread. */
  rest(): Uint8Array {
    return this.#bytes.subarray(this.#offset);
  }

  /** The next byte, which stays; undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#offset];
  }

  u8(field: string): number {
    return this.take(1, field)[0] ?? 0;
  }

  u16(field: string): number {
    return readU16LE(this.take(2, field), 0);
  }

  u32(field: string): number {
    return readU32LE(this.take(4, field), 0);
  }

  u64(field: string): bigint {
    return readU64LE(this.take(8, field), 0);
  }

  /** @throws what the reader refuses with, where bytes are left */
  end(): void {
    if (this.remaining > 0) throw this.fail(`${this.remaining} bytes after the end`);
  }

  fail(text: string, cause?: unknown): Error {
    return this.#refuse(`${this.#what}: ${text}`, cause);
  }
}
