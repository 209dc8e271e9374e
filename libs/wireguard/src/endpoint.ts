import { isIPv4, isIPv6 } from "node:net";
import { WireGuardError } from "./errors.ts";

export interface Endpoint {
  /** IPv4, IPv6 without brackets, or a DNS name. */
  readonly host: string;
  readonly port: number;
}

const DNS_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?)*$/;
const ENDPOINT = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+)):([1-9]\d{0,4})$/;

/**
 * `host:port` or `[ipv6]:port`. The text comes from a peer and goes into a file of lines and
 * onto command lines, so only characters of names, addresses and numbers pass.
 * @throws WireGuardError `endpoint-invalid`
 */
export function parseEndpoint(text: string): Endpoint {
  const match = ENDPOINT.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3] ?? 0);
  const hostValid = match?.[1] === undefined ? isIPv4(host) || DNS_NAME.test(host) : isIPv6(host);
  if (!hostValid || port < 1 || port > 65_535) {
    throw new WireGuardError(
      "endpoint-invalid",
      `"${text.slice(0, 80).replaceAll(/[^\x20-\x7e]/g, "?")}": expected host:port with a port of 1 to 65535`,
    );
  }
  return { host, port };
}

export const formatEndpoint = (endpoint: Endpoint): string =>
  endpoint.host.includes(":") ? `[${endpoint.host}]:${endpoint.port}` : `${endpoint.host}:${endpoint.port}`;
