import { WireGuardError } from "./errors.ts";

/** An IPv4 address as an unsigned 32-bit number. */
export type Ipv4 = number;

export interface Ipv4Network {
  /** As written: host bits may be set. */
  readonly address: Ipv4;
  /** 0 to 32. */
  readonly prefix: number;
}

const OCTET = /^(?:0|[1-9]\d{0,2})$/;

/**
 * Dotted decimal, four parts without leading zeros.
 * @throws WireGuardError `address-invalid`
 */
export function parseIpv4(text: string): Ipv4 {
  const parts = text.split(".");
  let value = 0;
  for (const part of parts) {
    if (!OCTET.test(part) || Number(part) > 255) return refuse(text, "an IPv4 address");
    value = value * 256 + Number(part);
  }
  return parts.length === 4 ? value : refuse(text, "an IPv4 address");
}

export const formatIpv4 = (address: Ipv4): string =>
  `${(address >>> 24) & 255}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;

/**
 * `a.b.c.d/len`; host bits may be set and are kept.
 * @throws WireGuardError `address-invalid`
 */
export function parseNetwork(text: string): Ipv4Network {
  const [address, prefix, ...rest] = text.split("/");
  if (
    address === undefined ||
    prefix === undefined ||
    rest.length > 0 ||
    !/^(?:0|[1-9]\d?)$/.test(prefix) ||
    Number(prefix) > 32
  ) {
    return refuse(text, "a network such as 10.8.0.1/16");
  }
  return { address: parseIpv4(address), prefix: Number(prefix) };
}

export const formatNetwork = (network: Ipv4Network): string => `${formatIpv4(network.address)}/${network.prefix}`;

/** The address with all host bits zero. */
export const firstAddress = (network: Ipv4Network): Ipv4 => network.address - (network.address % size(network));

/** The address with all host bits one. */
export const lastAddress = (network: Ipv4Network): Ipv4 => firstAddress(network) + size(network) - 1;

export const containsAddress = (network: Ipv4Network, address: Ipv4): boolean =>
  address >= firstAddress(network) && address <= lastAddress(network);

/** Whether every address of `inner` is one of `outer`. */
export const containsNetwork = (outer: Ipv4Network, inner: Ipv4Network): boolean =>
  containsAddress(outer, firstAddress(inner)) && containsAddress(outer, lastAddress(inner));

const size = (network: Ipv4Network): number => 2 ** (32 - network.prefix);

function refuse(text: string, expected: string): never {
  throw new WireGuardError("address-invalid", `"${text.slice(0, 60)}": expected ${expected}`);
}
