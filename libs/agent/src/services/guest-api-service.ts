import type { Logger } from "@dstack/log";
import { guestApi } from "@dstack/proto";
import { route, RpcError, type RpcService } from "@dstack/rpc";
import { AGENT_VERSION, type Agent } from "../agent.ts";
import { buildAppInfo } from "../app-info.ts";
import type { NetworkInfo } from "../ports.ts";

export interface GuestApiOptions {
  /** Undefined until boot has come so far. */
  readonly agent: () => Agent | undefined;
  readonly networkInfo: () => Promise<NetworkInfo>;
  /** Begins the way down; the answer does not wait for it. */
  readonly shutdown: () => void;
  readonly log: Logger;
}

/** What the host may ask: nothing here is secret, and all of it is the external view. */
export function guestApiService(options: GuestApiOptions): RpcService<null, "host"> {
  const methods = guestApi.GuestApi.method;
  const auth = "host";
  const ready = (): Agent => {
    const agent = options.agent();
    if (agent === undefined) throw new RpcError("handler-failed", "the guest is still booting");
    return agent;
  };
  return {
    prefixes: ["GuestApi."],
    authenticate: async () => null,
    bareErrors: true,
    log: options.log,
    routes: [
      route(methods.info, {
        auth,
        handle: async () => {
          const { appId, instanceId, appCert, tcbInfo, deviceId } = await buildAppInfo(ready(), "external");
          return { version: AGENT_VERSION.version, appId, instanceId, appCert, tcbInfo, deviceId };
        },
      }),
      route(methods.sysInfo, {
        auth,
        handle: async () => {
          const info = await ready().machine.systemInfo();
          return { ...info, disks: [...info.disks] };
        },
      }),
      route(methods.networkInfo, {
        auth,
        handle: async () => {
          const { dnsServers, gateways, interfaces, wgInfo } = await options.networkInfo();
          return {
            dnsServers: [...dnsServers],
            gateways: [...gateways],
            interfaces: interfaces.map((item) => ({ ...item, addresses: [...item.addresses] })),
            wgInfo,
          };
        },
      }),
      route(methods.listContainers, {
        auth,
        handle: async () => {
          const containers = await ready().machine.containers();
          return {
            containers: containers.map((item) => ({
              ...item,
              names: [...item.names],
              created: BigInt(item.created),
            })),
          };
        },
      }),
      route(methods.shutdown, {
        auth,
        handle: async () => {
          options.shutdown();
          return {};
        },
      }),
    ],
  };
}
