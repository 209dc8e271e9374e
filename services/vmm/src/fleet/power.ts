/**
 * Starting, stopping and removing one VM. In: a VM whose queue the caller holds (`finishRemoval`
 * takes it itself). Out: QEMU deployed or ended, what is meant to run written to disk first, and a
 * state that says so. Never: two changes of one VM at once, and nothing kept of a start that failed
 * but its reason.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { errorChain } from "@dstack/errors";
import { writeFileAtomic } from "@dstack/files";
import { VmmError } from "../errors.ts";
import { loadGuestImage } from "../launch/guest-image.ts";
import { writeHostShare } from "../launch/host-share.ts";
import { prepareLaunch, type Launch } from "../launch/prepare-launch.ts";
import { qemuProcess } from "../launch/qemu-process.ts";
import type { KeptState } from "../vm/vm-folder.ts";
import { isStarted, liveOf, markedStarted, markedStopped, type Vm } from "../vm/vm.ts";
import { othersOf, type FleetContext } from "./context.ts";
import type { Presence } from "./presence.ts";
import { checkCapacity } from "./vm-request.ts";

export interface Power {
  /** Runs QEMU unless it runs. @throws VmmError, and the VM stands where it stood */
  start(vm: Vm): Promise<void>;
  /** Ends QEMU. */
  stop(vm: Vm): Promise<void>;
  /** The guest has said that it powers off: its end is no crash. */
  markStopped(vm: Vm): Promise<void>;
  /** The guest has said why it does not boot; "" takes that back. */
  keepBootError(vm: Vm, reason: string): Promise<void>;
  /** From now on it is going away, over restarts of the VMM too. */
  beginRemoval(vm: Vm): Promise<void>;
  /** Ends when the VM is gone or the VMM closes. Never rejects. */
  finishRemoval(vm: Vm): Promise<void>;
  /** Out of memory, with its CID and channel; its folder stays. */
  forget(vm: Vm): void;
}

const REMOVE_POLL_MS = 500;

export function createPower(context: FleetContext, presence: Presence): Power {
  const { config, log, supervisor } = context;
  const { supervised } = presence;

  const keep = async (vm: Vm, change: Partial<KeptState>): Promise<void> => {
    const now = { started: isStarted(vm.state), bootError: vm.bootError };
    const next = { ...now, ...change };
    if (next.started === now.started && next.bootError === now.bootError) return;
    await vm.folder.writeState(next);
    vm.bootError = next.bootError;
    // What starts says so itself; a VM that is to run does not by that run.
    if (!next.started) vm.state = markedStopped(vm.state);
  };

  const start = async (vm: Vm): Promise<void> => {
    if (vm.state.kind === "broken")
      throw new VmmError("vm-broken", `VM ${vm.id} cannot be started: ${vm.state.reason}`);
    const image = await loadGuestImage(config.imagePath, vm.manifest.image);
    vm.imageVersion = image.version;
    await presence.look(vm);
    const runs = liveOf(vm.state) !== undefined;
    if (!runs) checkCapacity(vm.manifest, othersOf(context, vm.id), config.cvm);
    const launch = await prepareLaunch(vm, image, context);
    await writeHostShare(launch);
    const before = { state: vm.state, started: isStarted(vm.state), bootError: vm.bootError };
    await keep(vm, { started: true, bootError: "" });
    const reports = image.metadata.shared_ro;
    vm.bootProgress = reports ? (runs ? "running" : "booting") : "N/A";
    vm.shutdownProgress = reports ? "" : "N/A";
    if (runs) {
      vm.state = markedStarted(vm.state);
      return;
    }
    vm.state = { kind: "starting" };
    try {
      await deploy(launch);
    } catch (error) {
      vm.bootProgress = "";
      vm.bootError = before.bootError;
      vm.state = before.state.kind === "exited" ? { ...before.state, reason: errorChain(error) } : before.state;
      await vm.folder
        .writeState({ started: before.started, bootError: before.bootError })
        .catch((cause: unknown) =>
          log.error({ vm: vm.id, error: errorChain(cause) }, "VM that did not start is still marked to run"),
        );
      throw error;
    }
    const process = await presence.lookAfterDeploy(vm);
    log.info({ vm: vm.id, name: vm.manifest.name, pid: process?.state.pid }, "VM started");
  };

  const deploy = async (launch: Launch): Promise<void> => {
    const request = await qemuProcess(launch, context);
    try {
      await supervised(() => supervisor.deploy(request));
    } catch (cause) {
      throw new VmmError("supervisor-failed", `failed to start process ${launch.vm.id}`, { cause });
    }
  };

  const stop = async (vm: Vm): Promise<void> => {
    await keep(vm, { started: false });
    if ((await presence.look(vm)) !== undefined) await supervised(() => supervisor.stop(vm.id));
    await presence.look(vm);
  };

  const forget = (vm: Vm): void => {
    if (context.vms.get(vm.id) !== vm) return;
    liveOf(vm.state)?.channel.close();
    if (vm.cid !== undefined) context.pool.free(vm.cid);
    context.vms.delete(vm.id);
  };

  /** @returns whether it is gone; tearing down a large VM can take hours */
  const removeNow = async (vm: Vm): Promise<boolean> => {
    if ((await presence.look(vm)) !== undefined) await supervised(() => supervisor.stop(vm.id));
    const process = await presence.look(vm);
    if (process?.state.status === "running") return false;
    if (process !== undefined) await supervised(() => supervisor.remove(vm.id));
    await vm.folder.remove();
    forget(vm);
    log.info({ vm: vm.id }, "VM removed");
    return true;
  };

  return {
    start,
    stop,
    forget,
    markStopped: (vm) => keep(vm, { started: false }),
    keepBootError: (vm, bootError) => keep(vm, { bootError }),
    beginRemoval: async (vm) => {
      vm.state = { kind: "removing", live: liveOf(vm.state) };
      try {
        // Should the mark be lost in the middle of the removal, nothing starts what is left.
        await vm.folder.writeState({ started: false, bootError: "" });
        await writeFileAtomic(vm.folder.file.removing, "");
      } catch (error) {
        log.warn({ vm: vm.id, error: errorChain(error) }, "the mark of a removal could not be written");
      }
    },
    finishRemoval: async (vm) => {
      while (!context.closing.aborted) {
        try {
          if (await context.queue(vm.id, () => removeNow(vm))) return;
        } catch (error) {
          log.warn({ vm: vm.id, error: errorChain(error) }, "VM cannot be removed yet");
        }
        await sleep(context.removePollMs ?? REMOVE_POLL_MS, undefined, { signal: context.closing, ref: false }).catch(
          () => undefined, // The VMM ends; the next one goes on.
        );
      }
    },
  };
}
