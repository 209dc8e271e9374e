import type { Logger } from "@dstack/log";
import { gateway } from "@dstack/proto";
import { route, type RpcService } from "@dstack/rpc";
import { formatIpv4 } from "@dstack/wireguard";
import { parseHex } from "@dstack/bytes";
import type { GatewayConfig } from "../config/gateway-config.ts";
import { nodeInfo } from "../node-info.ts";
import type { ProxyCounters } from "../proxy/proxy-counters.ts";
import type { Instance } from "../registration/instance.ts";
import type { Registry } from "../registration/registry.ts";
import type { Tunnel } from "../wireguard/tunnel.ts";

export interface AdminServiceOptions {
  readonly config: GatewayConfig;
  readonly uuid: string;
  readonly registry: Registry;
  readonly tunnel: Tunnel;
  readonly counters: ProxyCounters;
  readonly now: () => number;
  readonly log: Logger;
}

/** An instance counts as online this long after its last handshake: two rekeys and a keepalive. */
export const ONLINE_SECONDS = 300;
const SMALL_BODY_BYTES = 64 * 1024;

/** The listener's guard checked the token before any of these is reached. */
export function adminService(options: AdminServiceOptions): RpcService<undefined, "admin"> {
  const { config, registry, tunnel, counters } = options;
  const { method } = gateway.Admin;
  const seconds = (): number => Math.floor(options.now() / 1_000);
  const hostInfo = (instance: Instance) => ({
    instanceId: instance.instanceId,
    ip: formatIpv4(instance.address),
    appId: instance.appId,
    baseDomain: config.staticCertificate?.baseDomain ?? "",
    latestHandshake: BigInt(tunnel.latestHandshake(instance.publicKey) ?? 0),
    numConnections: BigInt(counters.connections(instance.instanceId)),
  });
  return {
    prefixes: ["Admin."],
    authenticate: async () => undefined,
    log: options.log,
    routes: [
      route(method.status, {
        auth: "admin",
        bodyLimitBytes: SMALL_BODY_BYTES,
        handle: async () => {
          await tunnel.refresh();
          return {
            id: config.raw.core.sync.node_id,
            url: config.raw.core.sync.my_url,
            bootnodeUrl: "",
            numConnections: BigInt(counters.open),
            hosts: registry.all().map(hostInfo),
            nodes: [nodeInfo(config, options.uuid, seconds())],
            uuid: parseHex(options.uuid),
            accel: { ktlsMode: "off", spliceMode: "off" },
          };
        },
      }),
      route(method.getInfo, {
        auth: "admin",
        bodyLimitBytes: SMALL_BODY_BYTES,
        handle: async (request) => {
          await tunnel.refresh();
          const instance = registry.get(request.id);
          return instance === undefined ? { found: false } : { found: true, info: hostInfo(instance) };
        },
      }),
      route(method.getMeta, {
        auth: "admin",
        bodyLimitBytes: SMALL_BODY_BYTES,
        handle: async () => {
          await tunnel.refresh();
          return { registered: registry.size, online: onlineCount(registry, tunnel, seconds()) };
        },
      }),
    ],
  };
}

export function onlineCount(registry: Registry, tunnel: Tunnel, nowSeconds: number): number {
  return registry
    .all()
    .filter(
      (instance) =>
        nowSeconds - (tunnel.latestHandshake(instance.publicKey) ?? Number.NEGATIVE_INFINITY) < ONLINE_SECONDS,
    ).length;
}
