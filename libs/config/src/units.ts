import { ConfigError } from "./errors.ts";

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export interface DurationOptions {
  /** Whether `never` is a duration too: Infinity. */
  readonly never?: boolean;
}

/**
 * A duration such as `2m` or `300ms`, in milliseconds. Units: ms, s, m, h, d.
 * @throws ConfigError `unit-invalid`
 */
export function parseDuration(text: string, { never = false }: DurationOptions = {}): number {
  if (never && text === "never") return Number.POSITIVE_INFINITY;
  const [, count, unit = ""] = /^\s*(\d+)\s*(ms|s|m|h|d)\s*$/.exec(text) ?? [];
  const ms = Number(count ?? Number.NaN) * (UNIT_MS[unit] ?? Number.NaN);
  if (!Number.isSafeInteger(ms))
    throw new ConfigError(
      "unit-invalid",
      `duration "${text.slice(0, 40)}": expected a whole number and one of ms, s, m, h, d${never ? ", or never" : ""}`,
    );
  return ms;
}
