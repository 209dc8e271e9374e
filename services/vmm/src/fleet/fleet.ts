/**
 * The VMs of this host. In: requests of the API, what the watch notices, what a guest says. Out:
 * one change at a time per VM, and one at a time of what concerns them together (`INVENTORY`).
 * Never: a VM stopped by our own end. Who does the work: inventory (which there are), power (start,
 * stop, remove), presence (what runs), update-vm.
 */
import type { Hash32 } from "@dstack/bytes";
import { VmmError } from "../errors.ts";
import { createIdPool } from "../launch/id-pool.ts";
import { FRESH } from "../vm/auto-restart.ts";
import { checkVmId } from "../vm/manifest.ts";
import { liveOf, type Vm } from "../vm/vm.ts";
import { othersOf, type FleetContext, type FleetOptions } from "./context.ts";
import { createInventory, type Inventory } from "./inventory.ts";
import { keyedQueue } from "./keyed-queue.ts";
import { createPower } from "./power.ts";
import { createPresence } from "./presence.ts";
import { planRollback } from "./rollback.ts";
import { applyUpdate, planUpdate, type UpdatePlan, type UpdateRequest } from "./update-vm.ts";

export interface Fleet extends Inventory {
  /** Reads the supervisor's view anew. */
  refresh(): Promise<void>;
  all(): Vm[];
  find(id: string): Vm | undefined;
  /** @throws VmmError `not-found` */
  get(id: string): Vm;
  start(id: string): Promise<void>;
  /** As `start` where it has exited, and the count of automatic restarts goes on. */
  restart(id: string): Promise<void>;
  stop(id: string): Promise<void>;
  /** The guest has said that it powers off. */
  poweredOff(vm: Vm): Promise<void>;
  /** The guest has said why it does not boot; "" takes that back. */
  bootError(vm: Vm, reason: string): Promise<void>;
  /** Ends when it counts as removed; its QEMU and folder go by themselves. */
  remove(id: string): Promise<void>;
  /** @returns the first 20 bytes of the new compose hash in hex, or "" */
  update(request: UpdateRequest): Promise<string>;
  /**
   * Puts the version back that the last update replaced, and keeps the current one in its place.
   * @returns the compose hash of what is there now
   * @throws VmmError `no-version`
   */
  rollback(id: string): Promise<Hash32>;
  close(): void;
}

/** The queue of what concerns the VMs together. A symbol, since any word may be a VM's id. */
const INVENTORY = Symbol("inventory");

export function createFleet(options: FleetOptions): Fleet {
  const { config, log } = options;
  const vms = new Map<string, Vm>();
  const queue = keyedQueue();
  const closing = new AbortController();
  const pool = createIdPool(config.cvm.cidStart, config.cvm.cidStart + config.cvm.cidPoolSize);
  const context: FleetContext = { ...options, vms, pool, queue, closing: closing.signal };
  const presence = createPresence(context);
  const power = createPower(context, presence);
  const inventory = createInventory(context, presence, power);

  const get = (id: string): Vm => {
    const vm = vms.get(id);
    if (vm === undefined) throw new VmmError("not-found", "VM not found");
    return vm;
  };
  const getLasting = (id: string): Vm => {
    const vm = get(id);
    if (vm.state.kind === "removing") throw new VmmError("conflict", "VM is being removed");
    return vm;
  };
  /** Refused at once where it is refused, else in its turn. */
  const inTurn = async <T>(id: string, work: (vm: Vm) => Promise<T>): Promise<T> => {
    getLasting(id);
    return queue(id, () => explainFullDisk(config.runPath, () => work(getLasting(id))));
  };

  /** Ports are compared with the other VMs', so nothing else is made or changed meanwhile. */
  const change = async <P extends UpdatePlan>(id: string, planOf: (vm: Vm) => Promise<P>): Promise<P> => {
    getLasting(checkVmId(id));
    return queue(INVENTORY, () =>
      inTurn(id, async (vm) => {
        await presence.look(vm);
        const plan = await planOf(vm);
        await applyUpdate(vm, plan, options.qemu.imgPath, new Date(options.clock.now()).toISOString());
        log.info({ vm: id, parts: plan.parts }, "VM updated");
        return plan;
      }),
    );
  };

  return {
    load: () => queue(INVENTORY, inventory.load),
    create: (request) => queue(INVENTORY, () => explainFullDisk(config.runPath, () => inventory.create(request))),
    refresh: presence.refresh,
    all: () =>
      [...vms.values()].toSorted(
        (a, b) => a.manifest.created_at_ms - b.manifest.created_at_ms || (a.id < b.id ? -1 : 1),
      ),
    find: (id) => vms.get(id),
    get,
    start: (id) =>
      inTurn(id, async (vm) => {
        vm.restart = FRESH;
        await power.start(vm);
      }),
    restart: (id) =>
      inTurn(id, async (vm) => {
        if (vm.state.kind === "exited") await power.start(vm);
      }),
    stop: (id) =>
      inTurn(id, async (vm) => {
        vm.restart = FRESH;
        await power.stop(vm);
        log.info({ vm: id }, "VM stopped");
      }),
    poweredOff: (vm) => queue(vm.id, () => power.markStopped(vm)),
    bootError: (vm, reason) => queue(vm.id, () => power.keepBootError(vm, reason)),
    remove: async (id) => {
      const vm = get(id);
      const begun = await queue(id, async () => {
        if (vm.state.kind === "removing") return false;
        await power.beginRemoval(vm);
        return true;
      });
      if (begun) void power.finishRemoval(vm);
    },
    update: async (request) => {
      const plan = await change(request.id, (vm) => planUpdate(vm, request, config, othersOf(context, vm.id)));
      return plan.composeId;
    },
    rollback: async (id) => {
      const { composeHash } = await change(id, async (vm) => {
        const kept = await vm.folder.readPreviousVersion();
        if (kept === undefined) throw new VmmError("no-version", `VM ${id} has no previous version`);
        return planRollback(vm, kept, config, othersOf(context, id));
      });
      return composeHash;
    },
    close: () => {
      closing.abort();
      for (const vm of vms.values()) liveOf(vm.state)?.channel.close();
    },
  };
}

async function explainFullDisk<T>(runPath: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOSPC") throw cause;
    throw new VmmError("disk-failed", `the disk that holds ${runPath} is full; free some space and try again`, {
      cause,
    });
  }
}
