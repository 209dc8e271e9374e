import { ComposeError } from "../errors.ts";

const U64_MAX = (1n << 64n) - 1n;

/**
 * A byte count as app-compose.json writes it: decimal digits with an optional K, M, G or T
 * (times 1024 each, either case), or `0x` and hex digits.
 * @throws ComposeError `size-invalid`
 */
export function parseSize(text: string): bigint {
  const trimmed = text.trim();
  if (trimmed === "") throw new ComposeError("size-invalid", "Empty memory size");
  const size = /^0[xX]/.test(trimmed) ? digits(trimmed.slice(2), /^[0-9a-fA-F]+$/, "0x", text) : decimal(trimmed, text);
  if (size > U64_MAX) throw new ComposeError("size-invalid", `memory size "${text}" does not fit in 64 bits`);
  return size;
}

function decimal(trimmed: string, text: string): bigint {
  if (/^\d+$/.test(trimmed)) return BigInt(trimmed);
  const suffix = trimmed.at(-1) ?? "";
  const power = "kmgt".indexOf(suffix.toLowerCase());
  if (power < 0) throw new ComposeError("size-invalid", `Unknown memory size suffix: ${suffix}`);
  return digits(trimmed.slice(0, -1), /^\d+$/, "", text) * 1024n ** BigInt(power + 1);
}

function digits(part: string, pattern: RegExp, prefix: string, text: string): bigint {
  // 64 digits cannot fit in 64 bits; the limit keeps BigInt from chewing on megabytes.
  if (!pattern.test(part) || part.length > 64)
    throw new ComposeError("size-invalid", `memory size "${text.slice(0, 80)}": expected digits before the suffix`);
  return BigInt(prefix + part);
}
