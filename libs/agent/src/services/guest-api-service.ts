import { guestApi } from "@dstack/proto";
import { route, RpcError, type RpcService } from "@dstack/rpc";
import type { Logger } from "@dstack/log";
import { listContainers } from "../app/docker-api.ts";
import type { RunProgram } from "../system/run-program.ts";
import { AGENT_VERSION, type AgentState } from "./agent-state.ts";
import { buildAppInfo } from "./app-info-message.ts";
import type { DemoCertificate } from "./demo-certificate.ts";
import { readNetworkInfo } from "./network-info.ts";
import { readSystemInfo } from "./system-info.ts";

export interface GuestApiOptions {
  /** Undefined until boot has come so far. */
  readonly agent: () => { readonly state: AgentState; readonly demo: DemoCertificate } | undefined;
  readonly shutdown: () => void;
  readonly run: RunProgram;
  readonly log: Logger;
}

/** What the host may ask: nothing here is secret, and all of it is the external view. */
export function guestApiService(options: GuestApiOptions): RpcService<null, "host"> {
  const methods = guestApi.GuestApi.method;
  const auth = "host";
  const ready = (): { readonly state: AgentState; readonly demo: DemoCertificate } => {
    const agent = options.agent();
    if (agent === undefined) throw new RpcError("handler-failed", "the guest is still booting");
    return agent;
  };
  return {
    prefixes: ["GuestApi."],
    authenticate: async () => null,
    log: options.log,
    routes: [
      route(methods.info, {
        auth,
        handle: async () => {
          const { state, demo } = ready();
          const { appId, instanceId, appCert, tcbInfo, deviceId } = await buildAppInfo(state, demo, "external");
          return { version: AGENT_VERSION.version, appId, instanceId, appCert, tcbInfo, deviceId };
        },
      }),
      route(methods.sysInfo, {
        auth,
        handle: async () => {
          const info = await readSystemInfo(ready().state);
          return { ...info, disks: [...info.disks] };
        },
      }),
      route(methods.networkInfo, {
        auth,
        handle: async () => {
          const info = await readNetworkInfo(options.run);
          return {
            dnsServers: [...info.dnsServers],
            gateways: [...info.gateways],
            interfaces: info.interfaces.map((item) => ({ ...item, addresses: [...item.addresses] })),
            wgInfo: info.wgInfo,
          };
        },
      }),
      route(methods.listContainers, {
        auth,
        handle: async () => ({
          containers: (await listContainers(ready().state.docker)).map((item) => ({
            ...item,
            names: [...item.names],
            created: BigInt(item.created),
          })),
        }),
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
