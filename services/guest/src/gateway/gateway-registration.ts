import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { CertificateIssuer } from "@dstack/agent";
import { appId, parseHexOfLength, type AppId } from "@dstack/bytes";
import type { PortPolicy } from "@dstack/compose";
import { writeSecret } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { gateway } from "@dstack/proto";
import { attestedTransport } from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { callRpc, remoteSaid } from "@dstack/rpc";
import {
  generateWireGuardKeys,
  guestNetwork,
  openWireGuard,
  renderGuestConfig,
  type GuestNetwork,
  type WireGuardInterface,
} from "@dstack/wireguard";
import { tlsIdentity } from "../keys/certificates.ts";
import { clientCertificates, type ClientCertificate, type ClientCertificates } from "./client-certificates.ts";
import { GuestError } from "../errors.ts";
import { setUpFirewall } from "../system/firewall.ts";
import type { RunProgram } from "../system/run-program.ts";
import { rpcUrl } from "../host/system-config.ts";
import { GATEWAY_INTERFACE } from "../system/paths.ts";

export interface GatewayClientOptions {
  readonly urls: readonly string[];
  /** From the KMS: the app ids that a gateway's certificate may carry, comma-separated hex. */
  readonly gatewayAppId: string;
  readonly caCertificatePem: string;
  readonly portPolicy: PortPolicy;
  readonly issuer: CertificateIssuer;
  readonly configPath: string;
  readonly run: RunProgram;
  readonly log: Logger;
  /** Unix seconds. */
  readonly now: () => number;
}

export interface GatewayClient {
  /**
   * Registers at the first gateway that answers and brings the tunnel up. Unless `force`, a
   * configuration that did not change is left alone.
   * @throws GuestError `gateway-failed`
   */
  register(options: { readonly force: boolean }): Promise<void>;
  /** Unix seconds of the newest handshake with a gateway. */
  latestHandshake(): Promise<number | undefined>;
  close(): Promise<void>;
}

const TIMEOUT_MS = 30_000;

/** The guest's side of a gateway. @throws GuestError `gateway-failed` when it cannot be used at all */
export function gatewayClient(options: GatewayClientOptions): GatewayClient {
  const gatewayIds = parseGatewayIds(options.gatewayAppId);
  if (options.urls.length === 0) throw new GuestError("gateway-failed", "Missing gateway urls");
  const tunnelKeys = generateWireGuardKeys();
  const certificate = clientCertificates(options.issuer, options.now);
  let tunnel: WireGuardInterface | undefined;
  let current: string | undefined;

  return {
    register: async ({ force }) => {
      const answer = await askGateways(options, gatewayIds, tunnelKeys.publicKey, certificate);
      const network = guestNetwork(tunnelKeys.privateKey, answer);
      const text = renderGuestConfig(network);
      if (!force && text === current && tunnel !== undefined) return;
      await mkdir(dirname(options.configPath), { recursive: true, mode: 0o700 });
      await writeSecret(options.configPath, text);
      await setUpFirewall(network, options.run);
      tunnel = await openTunnel(network);
      current = text;
    },
    latestHandshake: async () => {
      const times = (await tunnel?.peers())?.map((peer) => peer.latestHandshake).filter((time) => time > 0) ?? [];
      return times.length === 0 ? undefined : Math.max(...times);
    },
    close: async () => {
      await tunnel?.close();
      tunnel = undefined;
    },
  };
}

/**
 * The exact ids that a gateway may have. "any" would accept everybody and is refused (#607).
 * @throws GuestError `gateway-failed`
 */
export function parseGatewayIds(text: string): readonly [AppId, ...AppId[]] {
  if (text.trim() === "") throw new GuestError("gateway-failed", "Missing allowed dstack-gateway app id");
  const ids = text.split(",").map((part) => {
    try {
      return appId(parseHexOfLength(part.trim(), 20, "gateway app id"));
    } catch (cause) {
      throw new GuestError(
        "gateway-failed",
        `the KMS names "${part.trim().slice(0, 60)}" as the gateway's app id; expected exactly 20 bytes of hex`,
        { cause },
      );
    }
  });
  return ids as [AppId, ...AppId[]];
}

interface Registration {
  readonly clientIp: string;
  readonly servers: readonly { readonly pk: string; readonly ip: string; readonly endpoint: string }[];
}

async function askGateways(
  options: GatewayClientOptions,
  gatewayIds: readonly AppId[],
  publicKey: string,
  certificate: ClientCertificates,
): Promise<Registration> {
  let firstError: unknown;
  for (const url of options.urls) {
    for (const id of gatewayIds) {
      try {
        return await askWithFallback(options, url, id, publicKey, certificate);
      } catch (error) {
        options.log.warn({ gateway: url, error: errorChain(error) }, "this gateway did not register us");
        firstError ??= error;
      }
    }
  }
  throw new GuestError("gateway-failed", "Failed to register CVM, all dstack-gateway urls are down", {
    cause: firstError,
  });
}

/** Gateways older than 0.5.6 want the evidence itself in the certificate. */
async function askWithFallback(
  options: GatewayClientOptions,
  url: string,
  id: AppId,
  publicKey: string,
  certificate: ClientCertificates,
): Promise<Registration> {
  try {
    return await ask(options, url, id, publicKey, await certificate(false));
  } catch (error) {
    if (!remoteSaid(error, /no attestation provided/)) throw error;
    return await ask(options, url, id, publicKey, await certificate(true));
  }
}

async function ask(
  options: GatewayClientOptions,
  url: string,
  id: AppId,
  publicKey: string,
  certificate: ClientCertificate,
): Promise<Registration> {
  const transport = attestedTransport({
    baseUrl: rpcUrl(url),
    trustedRoots: [options.caCertificatePem],
    peer: { kind: "app", appId: id },
    identity: tlsIdentity(certificate.chain, certificate.key),
  });
  const { ports, restrictMode } = options.portPolicy;
  const answer = await callRpc(
    transport,
    gateway.Gateway.method.registerCvm,
    { clientPublicKey: publicKey, portPolicy: { ports: ports.map(({ port, pp }) => ({ port, pp })), restrictMode } },
    { timeoutMs: TIMEOUT_MS },
  );
  if (answer.wg === undefined) throw new GuestError("gateway-failed", "Missing wg info");
  return { clientIp: answer.wg.clientIp, servers: answer.wg.servers };
}

async function openTunnel(network: GuestNetwork): Promise<WireGuardInterface> {
  const tunnel = await openWireGuard({
    name: GATEWAY_INTERFACE,
    address: { address: network.address, prefix: 32 },
    routes: network.routes,
    backend: "kernel",
  });
  try {
    await tunnel.apply(network.device);
  } catch (error) {
    await tunnel.close();
    throw error;
  }
  return tunnel;
}
