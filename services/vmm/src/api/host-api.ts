import { parseJson } from "@dstack/bytes";
import { WIRE_VERSION } from "@dstack/proto/wire";
import { hostApi } from "@dstack/proto";
import { errorChain, excerpt } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import { route, type RpcService } from "@dstack/rpc";
import { channelHandler, type ChannelHandler } from "@dstack/vm-channel";
import { z } from "zod";
import type { Fleet } from "../fleet/fleet.ts";
import { relayToKeyProvider } from "./key-provider.ts";
import { addEvent, type Vm } from "../vm/vm.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

export interface HostApiOptions {
  readonly config: VmmConfig;
  readonly log: Logger;
  readonly clock: { now(): number };
  readonly fleet: () => Pick<Fleet, "poweredOff" | "bootError">;
}

const MAX_EVENT_BYTES = 4096;
const NOTIFY_WINDOW_MS = 10_000;
const MAX_NOTIFY_PER_WINDOW = 200;

const instanceSchema = z.object({
  app_id: z.string().max(64).default(""),
  instance_id: z.string().max(64).default(""),
  instance_id_seed: z.string().max(64).default(""),
});

/**
 * What one VM may ask of its host. The channel is the VM's own, so the caller is known; what it
 * says is only that VM's word, and is kept small.
 */
export function hostApiHandler(vm: Vm, options: HostApiOptions): ChannelHandler {
  const methods = hostApi.HostApi.method;
  const service: RpcService<null, "vm"> = {
    prefixes: ["HostApi."],
    authenticate: async () => null,
    bareErrors: true,
    log: options.log.child({ vm: vm.id }),
    routes: [
      route(methods.info, {
        auth: "vm",
        handle: async () => ({ name: options.config.hostApi.ident, version: WIRE_VERSION }),
      }),
      route(methods.notify, {
        auth: "vm",
        handle: async ({ event, payload }) => {
          if (mayNotify(vm, options.clock.now())) await onNotify(vm, event, payload, options);
          return {};
        },
      }),
      route(methods.getSealingKey, {
        auth: "vm",
        handle: ({ quote }) => relayToKeyProvider(options.config.keyProvider, quote),
      }),
    ],
  };
  return channelHandler(service, "/api");
}

async function onNotify(
  vm: Vm,
  event: string,
  payload: string,
  { config, log, clock, fleet }: HostApiOptions,
): Promise<void> {
  if (Buffer.byteLength(payload) > MAX_EVENT_BYTES || Buffer.byteLength(event) > 256) return;
  addEvent(vm, event, payload, clock.now(), config.eventBufferSize);
  log.info(
    { vm: vm.id, event: excerpt(event), payload: event === "instance.info" ? undefined : excerpt(payload) },
    "guest event",
  );
  switch (event) {
    case "boot.progress":
      vm.bootProgress = payload;
      return;
    case "boot.error":
      await fleet().bootError(vm, payload);
      return;
    case "shutdown.progress":
      vm.shutdownProgress = payload;
      if (payload === "powering off") await fleet().poweredOff(vm);
      return;
    case "instance.info":
      await keepInstanceInfo(vm, payload, log);
      return;
    default:
      log.debug({ vm: vm.id, event: excerpt(event) }, "unknown guest event");
  }
}

async function keepInstanceInfo(vm: Vm, payload: string, log: Logger): Promise<void> {
  let parsed: z.output<typeof instanceSchema>;
  try {
    parsed = instanceSchema.parse(parseJson(payload));
  } catch (error) {
    log.warn({ vm: vm.id, error: excerpt(errorChain(error)) }, "instance.info of a guest is malformed and not kept");
    return;
  }
  await vm.folder.writeInstanceInfo({
    appId: parsed.app_id,
    instanceId: parsed.instance_id,
    instanceIdSeed: parsed.instance_id_seed,
  });
}

/** A guest that floods its host is ignored for the rest of the window. */
function mayNotify(vm: Vm, nowMs: number): boolean {
  if (nowMs - vm.notifyWindow.startedMs >= NOTIFY_WINDOW_MS) vm.notifyWindow = { startedMs: nowMs, count: 0 };
  vm.notifyWindow.count++;
  return vm.notifyWindow.count <= MAX_NOTIFY_PER_WINDOW;
}
