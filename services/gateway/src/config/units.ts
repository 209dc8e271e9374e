import { parseDuration } from "@dstack/config";
import { asRefusal } from "@dstack/errors";
import { GatewayError } from "../errors.ts";

/**
 * `30s`, `5m`, `2h`, `1d` or `never`, in milliseconds; `never` is Infinity.
 * @throws GatewayError `config-invalid`
 */
export const durationMs = (text: string): number =>
  asRefusal(
    () => parseDuration(text, { never: true }),
    (cause) => new GatewayError("config-invalid", cause.message),
  );

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
