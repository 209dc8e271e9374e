import { isIPv4, isIPv6 } from "node:net";
import { concatBytes, parseHex } from "@dstack/bytes";

export interface TcpAddresses {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
}

const SIGNATURE = parseHex("0d0a0d0a000d0a515549540a");
const VERSION_2_PROXY = 0x21;

/** PROXY protocol version 2 header for a TCP connection; UNSPEC unless both ends are IPv4 or both IPv6. */
export function proxyHeaderV2(ends: TcpAddresses): Uint8Array {
  const remote = addressBytes(ends.remoteAddress);
  const local = addressBytes(ends.localAddress);
  if (remote === undefined || local === undefined || remote.length !== local.length) {
    return concatBytes(SIGNATURE, Uint8Array.of(VERSION_2_PROXY, 0x00, 0, 0));
  }
  const family = remote.length === 4 ? 0x11 : 0x21;
  const body = concatBytes(remote, local, u16be(ends.remotePort), u16be(ends.localPort));
  return concatBytes(SIGNATURE, Uint8Array.of(VERSION_2_PROXY, family), u16be(body.length), body);
}

function addressBytes(text: string): Uint8Array | undefined {
  const plain = text.startsWith("::ffff:") && isIPv4(text.slice(7)) ? text.slice(7) : text;
  if (isIPv4(plain)) return Uint8Array.from(plain.split("."), Number);
  if (!isIPv6(plain)) return undefined;
  const [head = "", tail] = (plain.split("%", 1)[0] ?? "").split("::");
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const all = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255]));
}

const groups = (text: string): number[] =>
  text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
const u16be = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 255);
