import { readU16LE, readU32LE } from "@dstack/bytes";
import { AttestError } from "./errors.ts";
import type { AttestErrorCode } from "./errors.ts";

/** Reads fields of a binary form front to back and refuses to run past its end. */
export class Cursor {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  readonly #code: AttestErrorCode;
  #offset: number;

  constructor(bytes: Uint8Array, what: string, code: AttestErrorCode, offset = 0) {
    this.#bytes = bytes;
    this.#what = what;
    this.#code = code;
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

  /** @throws AttestError where bytes are left */
  end(): void {
    if (this.remaining > 0) throw this.fail(`${this.remaining} bytes after the end`);
  }

  fail(text: string, cause?: unknown): AttestError {
    return new AttestError(this.#code, `${this.#what}: ${text}`, cause === undefined ? undefined : { cause });
  }
}
