/** The two ways to drive a WireGuard device: `wg` for the kernel's, the UAPI socket for wireguard-go's. */
import { run } from "@dstack/process";
import { WireGuardError } from "./errors.ts";
import { parseUapiPeers, uapiExchange, uapiRemovePeer, uapiSetPeer } from "./uapi.ts";
import { parseWgDump, type PeerState } from "./peer-state.ts";
import { renderDeviceConfig, type DeviceConfig, type Peer } from "./render.ts";
import { wireGuardKeyHex } from "./key.ts";

export interface Device {
  /** Makes key, port and peers exactly these; peers that stay keep their sessions. */
  apply(config: DeviceConfig): Promise<void>;
  peers(): Promise<PeerState[]>;
}

const TIMEOUT_MS = 15_000;

export function kernelDevice(name: string): Device {
  return {
    apply: async (config) => {
      try {
        // Through a pipe: the text holds the private key. Node's own stdin is a socket, which wg cannot open as a file.
        await run("sh", ["-c", 'cat | wg syncconf "$0" /dev/stdin', name], {
          input: renderDeviceConfig(config),
          timeoutMs: TIMEOUT_MS,
        });
      } catch (cause) {
        throw new WireGuardError("device-refused", `wg could not configure ${name}: ${(cause as Error).message}`, {
          cause,
        });
      }
    },
    peers: async () => {
      try {
        return parseWgDump(
          (await run("wg", ["show", name, "dump"], { timeoutMs: TIMEOUT_MS, maxOutputBytes: 64 * 1024 * 1024 })).stdout,
        );
      } catch (cause) {
        if (cause instanceof WireGuardError) throw cause;
        throw new WireGuardError("interface-failed", `wg could not read ${name}: ${(cause as Error).message}`, {
          cause,
        });
      }
    },
  };
}

export function uapiDevice(socketPath: string): Device {
  // Lines that the device confirmed for each key; "" where a failed exchange left it open what took effect.
  let known: ReadonlyMap<string, string> = new Map();
  let head = "";
  return {
    apply: async (config) => {
      const wanted = new Map(config.peers.map((peer): [string, string] => [peer.publicKey, uapiSetPeer(peer)]));
      const newHead = `private_key=${wireGuardKeyHex(config.privateKey)}\nlisten_port=${config.listenPort}\n`;
      let request = newHead === head ? "" : newHead;
      for (const key of known.keys())
        if (!wanted.has(key)) request += uapiRemovePeer({ publicKey: key as Peer["publicKey"] });
      for (const [key, lines] of wanted) if (known.get(key) !== lines) request += lines;
      if (request === "") return;
      head = "";
      known = new Map([...known.keys(), ...wanted.keys()].map((key): [string, string] => [key, ""]));
      await uapiExchange(socketPath, `set=1\n${request}`, TIMEOUT_MS);
      known = wanted;
      head = newHead;
    },
    peers: async () => parseUapiPeers(await uapiExchange(socketPath, "get=1\n", TIMEOUT_MS)),
  };
}
