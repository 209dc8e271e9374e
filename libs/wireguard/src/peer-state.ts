import { parseEndpoint, type Endpoint } from "./endpoint.ts";
import { WireGuardError } from "./errors.ts";
import { parseWireGuardKey, type WireGuardKey } from "./key.ts";

export interface PeerState {
  readonly publicKey: WireGuardKey;
  /** Where the peer was last heard from. */
  readonly endpoint: Endpoint | undefined;
  /** Unix seconds; 0 means never. */
  readonly latestHandshake: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/**
 * Output of `wg show IF dump`: one line for the device, then one a peer with tab-separated
 * key, preshared key, endpoint, allowed IPs, handshake, received, sent, keepalive.
 * @throws WireGuardError `interface-failed` on a line of another shape
 */
export function parseWgDump(output: string): PeerState[] {
  return output
    .split("\n")
    .slice(1)
    .filter((line) => line !== "")
    .map((line) => {
      const [key = "", , endpoint = "", , handshake = "", received = "", sent = ""] = line.split("\t");
      return {
        publicKey: parseWireGuardKey(key, "peer in wg's output"),
        endpoint: endpoint === "(none)" ? undefined : parseEndpoint(endpoint),
        latestHandshake: seconds(handshake, line),
        receivedBytes: Number(received),
        sentBytes: Number(sent),
      };
    });
}

function seconds(text: string, line: string): number {
  const value = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(value) ? value : malformed(line);
}

function malformed(line: string): never {
  throw new WireGuardError("interface-failed", `wg printed a line of unexpected form: "${line.slice(0, 120)}"`);
}
