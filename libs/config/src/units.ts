import { ConfigError } from "./errors.ts";

const U64_MAX = (1n << 64n) - 1n;
const SIZE = /^(?:0[xX]([0-9a-fA-F]+)|(\d+)([kKmMgGtT])?)$/;

/**
 * A size in bytes: an integer, or text of decimal digits with an optional K, M, G or T (times
 * 1024 each), or `0x` and hex digits. No fraction, no `KB`.
 * @throws ConfigError `unit-invalid`
 */
export function parseSize(value: number | bigint | string): bigint {
  if (typeof value !== "string") {
    const size = BigInt(value);
    if (size < 0n || size > U64_MAX) throw new ConfigError("unit-invalid", `size ${value} is out of range`);
    return size;
  }
  const match = SIZE.exec(value.trim());
  if (match === null)
    throw new ConfigError("unit-invalid", `size "${value}": expected digits and an optional K, M, G or T`);
  const power = match[3] === undefined ? 0n : BigInt("kmgt".indexOf(match[3].toLowerCase()) + 1);
  const size = match[1] === undefined ? BigInt(match[2] ?? "") * 1024n ** power : BigInt(`0x${match[1]}`);
  if (size > U64_MAX) throw new ConfigError("unit-invalid", `size "${value}" does not fit in 64 bits`);
  return size;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * A duration such as `2m` or `300ms`, in milliseconds. Units: ms, s, m, h, d.
 * @throws ConfigError `unit-invalid`
 */
export function parseDuration(value: string): number {
  const match = /^\s*(\d+)\s*(ms|s|m|h|d)\s*$/.exec(value);
  const ms = match === null ? Number.NaN : Number(match[1]) * (UNIT_MS[match[2] ?? ""] ?? Number.NaN);
  if (!Number.isSafeInteger(ms))
    throw new ConfigError("unit-invalid", `duration "${value}": expected a number and one of ms, s, m, h, d`);
  return ms;
}
