import type { Logger } from "@dstack/log";
import type { ChannelHandler } from "@dstack/vm-channel";
import type { IdPool } from "../launch/id-pool.ts";
import type { Launcher } from "../launch/prepare-launch.ts";
import type { SupervisorClient } from "../supervisor/supervisor-client.ts";
import type { Vm } from "../vm/vm.ts";
import type { KeyedQueue } from "./keyed-queue.ts";

export interface FleetOptions extends Launcher {
  readonly supervisor: SupervisorClient;
  /** Starts a supervisor where none answers. */
  readonly ensureSupervisor: () => Promise<unknown>;
  /** Answers what a VM asks over its channel. */
  readonly hostApi: (vm: Vm) => ChannelHandler;
  readonly log: Logger;
  /** Pause between two looks at a VM that is being removed. */
  readonly removePollMs?: number;
}

/** What the parts of a fleet share. */
export interface FleetContext extends FleetOptions {
  readonly vms: Map<string, Vm>;
  /** CIDs. */
  readonly pool: IdPool;
  /** One change at a time per VM, by its id. */
  readonly queue: KeyedQueue;
  /** Aborted when the VMM ends; its VMs go on. */
  readonly closing: AbortSignal;
}

/** All VMs but one, and without those that are going away: whose ports, CPUs and memory count against it. */
export const othersOf = ({ vms }: Pick<FleetContext, "vms">, id: string): Vm[] =>
  [...vms.values()].filter((vm) => vm.id !== id && vm.state.kind !== "removing");
