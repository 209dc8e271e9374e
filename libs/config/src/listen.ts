import { isIP } from "node:net";
import { ConfigError } from "./errors.ts";

/** Where a server listens: the address and port, or the path of a Unix socket. */
export type ListenAddress = TcpAddress | { readonly path: string };
export type TcpAddress = { readonly host: string; readonly port: number };

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

/**
 * As `parseListen`, for a server that listens on a network alone.
 * @throws ConfigError `unit-invalid`
 */
export function parseTcpListen(text: string, port: number): TcpAddress {
  const listening = parseListen(text, port);
  if ("path" in listening)
    throw new ConfigError("unit-invalid", `"${text.slice(0, 80)}": expected an IP address, no Unix socket`);
  return listening;
}

/**
 * Where `HOST` and `PORT` say that a server listens; an empty one says nothing.
 * @throws ConfigError `unit-invalid` naming the variable
 */
export function listenOfEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  fallback: TcpAddress,
): TcpAddress {
  const { HOST: host = "", PORT: port = "" } = env;
  if (host !== "" && isIP(host) === 0)
    throw new ConfigError("unit-invalid", `HOST: expected an IP address, got "${host.slice(0, 40)}"`);
  if (port !== "" && !(/^\d{1,5}$/.test(port) && Number(port) <= 65_535))
    throw new ConfigError("unit-invalid", `PORT: expected a whole number of 0 to 65535, got "${port.slice(0, 40)}"`);
  return { host: host === "" ? fallback.host : host, port: port === "" ? fallback.port : Number(port) };
}
