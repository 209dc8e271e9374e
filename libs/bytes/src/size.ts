import { BytesError } from "./errors.ts";

const U64_MAX = (1n << 64n) - 1n;

/**
 * A count of bytes: a whole number, or text of decimal digits with an optional K, M, G or T (times
 * 1024 each, either case), or `0x` and hex digits. No fraction, no `KB`. The one grammar of
 * manifests, configurations and command lines.
 * @throws BytesError `size-invalid`
 */
export function parseSize(value: number | bigint | string): bigint {
  const size = typeof value === "string" ? ofText(value) : BigInt(value);
  if (size < 0n || size > U64_MAX)
    throw new BytesError("size-invalid", `memory size "${String(value).slice(0, 80)}" does not fit in 64 bits`);
  return size;
}

function ofText(text: string): bigint {
  const trimmed = text.trim();
  if (trimmed === "") throw new BytesError("size-invalid", "Empty memory size");
  if (/^0[xX]/.test(trimmed)) return digits(trimmed.slice(2), /^[0-9a-fA-F]+$/, "0x", text);
  if (/^\d+$/.test(trimmed)) return digits(trimmed, /^\d+$/, "", text);
  const suffix = trimmed.at(-1) ?? "";
  const power = "kmgt".indexOf(suffix.toLowerCase());
  if (power < 0) throw new BytesError("size-invalid", `Unknown memory size suffix: ${suffix}`);
  return digits(trimmed.slice(0, -1), /^\d+$/, "", text) * 1024n ** BigInt(power + 1);
}

function digits(part: string, pattern: RegExp, prefix: string, text: string): bigint {
  // 64 digits cannot fit in 64 bits; the limit keeps BigInt from chewing on megabytes.
  if (!pattern.test(part) || part.length > 64)
    throw new BytesError("size-invalid", `memory size "${text.slice(0, 80)}": expected digits before the suffix`);
  return BigInt(prefix + part);
}
