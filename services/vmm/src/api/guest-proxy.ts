import type { DescMessage, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { guestApi } from "@dstack/proto";
import type { Logger } from "@dstack/log";
import { callRpc, route, type Route, type RpcService } from "@dstack/rpc";
import { channelTransport } from "@dstack/vm-channel";
import type { Fleet } from "../fleet/fleet.ts";
import { GUEST_TIMEOUT_MS, guestChannel } from "./vmm-service.ts";

/** `/guest/<Method>`: what a guest says of itself, asked through its channel and given on as it is. */
export function guestProxy(fleet: Fleet, log: Logger): RpcService<null, "management"> {
  const guest = guestApi.GuestApi.method;
  const proxied = guestApi.ProxiedGuestApi.method;
  const forward = <O extends DescMessage>(
    own: DescMethodUnary<typeof guestApi.IdSchema, O>,
    theirs: DescMethodUnary<DescMessage, O>,
  ): Route<null, "management"> =>
    route(own, {
      auth: "management",
      handle: async ({ id }) =>
        (await callRpc(
          channelTransport(guestChannel(fleet.get(id)), "/api"),
          theirs,
          {},
          { timeoutMs: GUEST_TIMEOUT_MS },
        )) as MessageInitShape<O>,
    });
  return {
    prefixes: ["ProxiedGuestApi.", "GuestApi."],
    authenticate: async () => null,
    log,
    routes: [
      forward(proxied.info, guest.info),
      forward(proxied.sysInfo, guest.sysInfo),
      forward(proxied.networkInfo, guest.networkInfo),
      forward(proxied.listContainers, guest.listContainers),
      forward(proxied.shutdown, guest.shutdown),
    ],
  };
}
