/**
 * The guest agent: the sockets that an app asks its keys, quotes and certificates on, the public
 * listener that shows who the app is, and what the host may ask.
 */
export { createAgent } from "./agent.ts";
export type { Agent } from "./agent.ts";
export type {
  AgentPorts,
  AppRootKey,
  CertificateIssuer,
  ContainerSummary,
  DiskInfo,
  InterfaceInfo,
  Machine,
  NetworkInfo,
  SystemInfo,
  Tee,
} from "./ports.ts";
export type { DemoCertificate } from "./demo-certificate.ts";
export { listen } from "./listeners.ts";
export type { Listeners, ListenOptions } from "./listeners.ts";
export { ownCaIssuer } from "./own-ca-issuer.ts";
export type { OwnCaIssuerOptions } from "./own-ca-issuer.ts";
export { guestApiService } from "./services/guest-api-service.ts";
export type { GuestApiOptions } from "./services/guest-api-service.ts";
