import { GatewayError } from "../errors.ts";

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * `30s`, `5m`, `2h`, `1d` or `never`, in milliseconds; `never` is Infinity.
 * @throws GatewayError `config-invalid`
 */
export function durationMs(text: string): number {
  if (text === "never") return Number.POSITIVE_INFINITY;
  const match = /^(\d+)([smhd])$/.exec(text);
  const ms = match === null ? Number.NaN : Number(match[1]) * (UNIT_MS[match[2] ?? ""] ?? Number.NaN);
  if (!Number.isSafeInteger(ms))
    throw new GatewayError(
      "config-invalid",
      `duration "${text.slice(0, 40)}": expected a whole number and one of s, m, h, d, or never`,
    );
  return ms;
}

/**
 * `443`, `"443"` or `"443-445"`: the ports in order.
 * @throws GatewayError `config-invalid`
 */
export function portRange(value: number | string): number[] {
  const match = /^\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?$/.exec(String(value));
  const first = Number(match?.[1] ?? Number.NaN);
  const last = Number(match?.[2] ?? first);
  if (match === null || last > 65_535 || first > last)
    throw new GatewayError(
      "config-invalid",
      `listen_port "${String(value).slice(0, 40)}": expected a port or first-last, at most 65535`,
    );
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
