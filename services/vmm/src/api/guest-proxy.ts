import type { DescMessage, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { guestApi } from "@dstack/proto";
import type { Logger } from "@dstack/log";
import { callRpc, route, type Route } from "@dstack/rpc";
import { channelTransport } from "@dstack/vm-channel";
import type { Fleet } from "../fleet/fleet.ts";
import type { AskedGuest } from "./platforms.ts";
import { keepRule, type ManagementRule, type ManagementService } from "./guard.ts";
import { GUEST_TIMEOUT_MS, guestChannel } from "./vmm-service.ts";

/** `/guest/<Method>`: what a guest says of itself, asked through its channel and given on as it is. */
export function guestProxy(fleet: Pick<Fleet, "get">, log: Logger): ManagementService {
  const guest = guestApi.GuestApi.method;
  const proxied = guestApi.ProxiedGuestApi.method;
  const forward = <O extends DescMessage>(
    rule: ManagementRule,
    own: DescMethodUnary<typeof guestApi.IdSchema, O>,
    theirs: DescMethodUnary<DescMessage, O>,
  ): Route<null, ManagementRule> =>
    route(own, {
      auth: rule,
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
    authenticate: keepRule,
    log,
    routes: [
      forward("reads", proxied.info, guest.info),
      forward("reads", proxied.sysInfo, guest.sysInfo),
      forward("reads", proxied.networkInfo, guest.networkInfo),
      forward("reads", proxied.listContainers, guest.listContainers),
      forward("changes", proxied.shutdown, guest.shutdown),
    ],
  };
}

/** The guests that run, each to be asked for its agent's certificate. */
export const askedGuests = (fleet: Pick<Fleet, "all">): readonly AskedGuest[] =>
  fleet
    .all()
    .filter(({ state }) => state.kind === "running")
    .map((vm) => ({
      id: vm.id,
      certificate: async () => {
        const transport = channelTransport(guestChannel(vm), "/api");
        const { info } = guestApi.GuestApi.method;
        return (await callRpc(transport, info, {}, { timeoutMs: GUEST_TIMEOUT_MS })).appCert;
      },
    }));
