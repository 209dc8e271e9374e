import { formatEndpoint, parseEndpoint, type Endpoint } from "./endpoint.ts";
import { formatIpv4, formatNetwork, parseIpv4, type Ipv4, type Ipv4Network } from "./ipv4.ts";
import { parseWireGuardKey, type WireGuardKey } from "./key.ts";

export interface Peer {
  readonly publicKey: WireGuardKey;
  readonly allowedIps: readonly Ipv4Network[];
  /** Where to send before the peer has spoken. */
  readonly endpoint?: Endpoint;
  readonly keepaliveSeconds: number;
}

/** What a device is told: its identity, where it listens, whom it knows. */
export interface DeviceConfig {
  readonly privateKey: WireGuardKey;
  readonly listenPort: number;
  readonly peers: readonly Peer[];
}

/** One peer of a gateway: the instance's key and its one address. */
export interface GatewayPeer {
  readonly publicKey: WireGuardKey;
  readonly address: Ipv4;
}

export const KEEPALIVE_SECONDS = 25;
/** WireGuard's usual one: 1500 less 80 of outer headers. */
export const DEFAULT_MTU = 1420;
/** UDP port of a CVM's interface. */
export const GUEST_LISTEN_PORT = 9182;

/** The gateway's configuration file, byte for byte; peers in the order given. */
export function renderGatewayConfig(
  privateKey: WireGuardKey,
  listenPort: number,
  peers: readonly GatewayPeer[],
): string {
  const blocks = peers.map(
    ({ publicKey, address }) => `
[Peer]
PublicKey = ${publicKey}
AllowedIPs = ${formatIpv4(address)}/32
PersistentKeepalive = ${KEEPALIVE_SECONDS}
`,
  );
  return `${renderInterface({ privateKey, listenPort })}\n${blocks.join("")}`;
}

/** The answer of RegisterCvm as far as WireGuard is concerned; all text is the gateway's and untrusted. */
export interface GuestRegistration {
  readonly clientIp: string;
  readonly servers: readonly { readonly pk: string; readonly ip: string; readonly endpoint: string }[];
}

export interface GuestNetwork {
  readonly address: Ipv4;
  /** The gateways' addresses, one route each. */
  readonly routes: readonly Ipv4Network[];
  readonly device: DeviceConfig;
}

const MAX_SERVERS = 64;

/**
 * Checks what a gateway answered and orders the peers by public key.
 * @throws WireGuardError naming the field that cannot be what it should
 */
export function guestNetwork(privateKey: WireGuardKey, answer: GuestRegistration): GuestNetwork {
  const peers = answer.servers.slice(0, MAX_SERVERS).map((server): Peer => {
    const ip = server.ip.split("/", 1)[0] ?? "";
    return {
      publicKey: parseWireGuardKey(server.pk, "gateway's public key"),
      allowedIps: [{ address: parseIpv4(ip), prefix: 32 }],
      endpoint: parseEndpoint(server.endpoint),
      keepaliveSeconds: KEEPALIVE_SECONDS,
    };
  });
  peers.sort((a, b) => (a.publicKey < b.publicKey ? -1 : a.publicKey > b.publicKey ? 1 : 0));
  return {
    address: parseIpv4(answer.clientIp),
    routes: peers.flatMap((peer) => peer.allowedIps),
    device: { privateKey, listenPort: GUEST_LISTEN_PORT, peers },
  };
}

/** The guest's dstack-wg0.conf in the form of wg-quick, byte for byte: mode 0600 for its reader. */
export function renderGuestConfig(network: GuestNetwork): string {
  const { device } = network;
  const address = `Address = ${formatIpv4(network.address)}/32\n`;
  return `${renderInterface(device)}${address}\n${device.peers.map(renderPeer).join("")}`;
}

/** What `wg setconf` and `wg syncconf` read on standard input. */
export function renderDeviceConfig(device: DeviceConfig): string {
  return `${renderInterface(device)}${device.peers.map(renderPeer).join("")}`;
}

function renderInterface({ privateKey, listenPort }: Pick<DeviceConfig, "privateKey" | "listenPort">): string {
  return `[Interface]
PrivateKey = ${privateKey}
ListenPort = ${listenPort}
`;
}

function renderPeer({ publicKey, allowedIps, endpoint, keepaliveSeconds }: Peer): string {
  return `[Peer]
PublicKey = ${publicKey}
AllowedIPs = ${allowedIps.map(formatNetwork).join(", ")}
${endpoint === undefined ? "" : `Endpoint = ${formatEndpoint(endpoint)}\n`}PersistentKeepalive = ${keepaliveSeconds}
`;
}
