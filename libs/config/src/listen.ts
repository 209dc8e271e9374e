import { isIP } from "node:net";
import { ConfigError } from "./errors.ts";

/** Where a server listens: the address and port, or the path of a Unix socket. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/**
 * `unix:PATH`; or an IP address with or without `tcp:` before and a port after it. IPv6 with a port
 * stands in brackets. `port` is what a text without one means.
 * @throws ConfigError `unit-invalid`
 */
export function parseListen(text: string, port: number): ListenAddress {
  if (text.startsWith("unix:") && text.length > "unix:".length) return { path: text.slice("unix:".length) };
  const address = text.startsWith("tcp:") ? text.slice("tcp:".length) : text;
  if (isIP(address) !== 0) return { host: address, port };
  const [, ip6, ip4, digits] = /^(?:\[([^\]]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(address) ?? [];
  const host = ip6 ?? ip4 ?? "";
  const given = digits === undefined ? port : Number(digits);
  if (isIP(host) !== (ip6 === undefined ? 4 : 6) || given > 65_535)
    throw new ConfigError(
      "unit-invalid",
      `"${text.slice(0, 80)}": expected an IP address, IP:PORT, [IPV6]:PORT or unix:PATH, and a port of at most 65535`,
    );
  return { host, port: given };
}
