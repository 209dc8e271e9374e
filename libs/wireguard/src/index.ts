/**
 * WireGuard: keys, configuration text that nothing can be smuggled into, and the device itself,
 * by the kernel or by wireguard-go.
 */
export { WireGuardError } from "./errors.ts";
export type { WireGuardErrorCode } from "./errors.ts";
export {
  generateWireGuardKeys,
  parseWireGuardKey,
  publicKeyOf,
  wireGuardKeyBytes,
  wireGuardKeyFromBytes,
} from "./key.ts";
export type { WireGuardKey, WireGuardKeyPair } from "./key.ts";
export {
  containsAddress,
  containsNetwork,
  firstAddress,
  formatIpv4,
  formatNetwork,
  lastAddress,
  parseIpv4,
  parseNetwork,
} from "./ipv4.ts";
export type { Ipv4, Ipv4Network } from "./ipv4.ts";
export { formatEndpoint, parseEndpoint } from "./endpoint.ts";
export type { Endpoint } from "./endpoint.ts";
export {
  DEFAULT_MTU,
  guestNetwork,
  GUEST_LISTEN_PORT,
  KEEPALIVE_SECONDS,
  renderGatewayConfig,
  renderGuestConfig,
} from "./render.ts";
export type { DeviceConfig, GatewayPeer, GuestNetwork, GuestRegistration, Peer } from "./render.ts";
export type { PeerState } from "./peer-state.ts";
export { openWireGuard } from "./interface.ts";
export type { OpenOptions, WireGuardInterface } from "./interface.ts";
export { checkInterfaceName } from "./link.ts";
