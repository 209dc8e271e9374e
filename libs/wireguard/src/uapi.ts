/**
 * The userspace configuration protocol of WireGuard over a Unix socket: `get=1` or `set=1`,
 * lines of `key=value`, an empty line, an answer that ends with `errno=N` and an empty line.
 */
import { connect } from "node:net";
import { getSystemErrorMap } from "node:util";
import { WireGuardError } from "./errors.ts";
import { formatEndpoint, parseEndpoint } from "./endpoint.ts";
import { formatNetwork } from "./ipv4.ts";
import { wireGuardKeyFromBytes, wireGuardKeyHex } from "./key.ts";
import type { Peer } from "./render.ts";
import type { PeerState } from "./peer-state.ts";
import { parseHexOfLength } from "@dstack/bytes";

const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/**
 * One exchange.
 * @throws WireGuardError `device-refused` with the device's errno, `interface-failed` when it cannot be asked
 */
export function uapiExchange(socketPath: string, request: string, timeoutMs = 5_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    const chunks: Buffer[] = [];
    let length = 0;
    const fail = (why: string, cause?: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(
        new WireGuardError("interface-failed", `WireGuard device at ${socketPath} could not be asked: ${why}`, {
          cause,
        }),
      );
    };
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    socket.on("error", (error) => fail(error.message, error));
    socket.on("close", () => fail("it closed the connection"));
    socket.on("connect", () => socket.write(`${request}\n`));
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > MAX_ANSWER_BYTES) return fail("the answer is too long");
      const tail =
        chunk.length >= 24
          ? chunk.toString("latin1", chunk.length - 24)
          : Buffer.concat(chunks).toString("latin1").slice(-24);
      const end = /(?:^|\n)errno=(-?\d+)\n\n$/.exec(tail);
      if (end === null) return;
      clearTimeout(timer);
      socket.destroy();
      if (end[1] === "0") resolve(Buffer.concat(chunks).toString("latin1"));
      else
        reject(
          new WireGuardError(
            "device-refused",
            `WireGuard device at ${socketPath} refused its configuration: ${refusal(Number(end[1]))}`,
          ),
        );
    });
  });
}

function refusal(errno: number): string {
  const name = getSystemErrorMap().get(errno)?.[0] ?? `errno ${errno}`;
  return name === "EADDRINUSE" ? "EADDRINUSE, its UDP port is in use" : name;
}

/** Lines that add a peer or bring it to exactly this state; its session stays. */
export function uapiSetPeer(peer: Peer): string {
  const endpoint = peer.endpoint === undefined ? "" : `endpoint=${formatEndpoint(peer.endpoint)}\n`;
  const allowed = peer.allowedIps.map((network) => `allowed_ip=${formatNetwork(network)}\n`).join("");
  const key = `public_key=${wireGuardKeyHex(peer.publicKey)}\n`;
  const keepalive = `persistent_keepalive_interval=${peer.keepaliveSeconds}\n`;
  return `${key}${endpoint}${keepalive}replace_allowed_ips=true\n${allowed}`;
}

/** Lines that forget a peer. */
export const uapiRemovePeer = (peer: Pick<Peer, "publicKey">): string =>
  `public_key=${wireGuardKeyHex(peer.publicKey)}\nremove=true\n`;

/** Reads the peers out of the answer to `get=1`. */
export function parseUapiPeers(answer: string): PeerState[] {
  const peers: PeerState[] = [];
  let current: { -readonly [K in keyof PeerState]: PeerState[K] } | undefined;
  for (const line of answer.split("\n")) {
    const at = line.indexOf("=");
    const value = line.slice(at + 1);
    switch (line.slice(0, at)) {
      case "public_key":
        current = {
          publicKey: wireGuardKeyFromBytes(parseHexOfLength(value, 32, "public key")),
          endpoint: undefined,
          latestHandshake: 0,
          receivedBytes: 0,
          sentBytes: 0,
        };
        peers.push(current);
        break;
      case "endpoint":
        if (current !== undefined) current.endpoint = parseEndpoint(value);
        break;
      case "last_handshake_time_sec":
        if (current !== undefined) current.latestHandshake = Number(value);
        break;
      case "rx_bytes":
        if (current !== undefined) current.receivedBytes = Number(value);
        break;
      case "tx_bytes":
        if (current !== undefined) current.sentBytes = Number(value);
        break;
      default:
        break;
    }
  }
  return peers;
}
