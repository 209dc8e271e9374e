import { BytesError } from "./errors.ts";

const HEX = /^[0-9a-fA-F]*$/;

/**
 * Hex text, either case, one optional `0x`, to bytes. Never pads: an odd number of digits is refused.
 * @throws BytesError `hex-invalid`
 */
export function parseHex(text: string, what = "hex text"): Uint8Array {
  const digits = text.startsWith("0x") || text.startsWith("0X") ? text.slice(2) : text;
  if (!HEX.test(digits)) throw new BytesError("hex-invalid", `${what}: not hexadecimal`);
  if (digits.length % 2 !== 0) {
    throw new BytesError("hex-invalid", `${what}: odd number of hex digits (${digits.length})`);
  }
  const out = new Uint8Array(digits.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/**
 * As `parseHex`, and the value must have exactly `length` bytes.
 * @throws BytesError `hex-invalid`, `length-wrong`
 */
export function parseHexOfLength(text: string, length: number, what = "hex text"): Uint8Array {
  const bytes = parseHex(text, what);
  if (bytes.length !== length) {
    throw new BytesError("length-wrong", `${what}: expected ${length} bytes, got ${bytes.length}`);
  }
  return bytes;
}

const DIGITS: readonly string[] = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

/** Bytes to lower-case hex without a prefix. */
export function toHex(bytes: Uint8Array): string {
  let out = "";
  for (const byte of bytes) out += DIGITS[byte];
  return out;
}
