/**
 * What runs. In: what the supervisor shows of its processes. Out: each VM's state moved on by it,
 * its channel opened and closed, an event where QEMU ended and should not have. Never: a change of
 * what is meant to run, and no word of a list that was asked for before a VM changed otherwise.
 */
import { errorChain } from "@dstack/errors";
import { openHostChannel } from "@dstack/vm-channel";
import { VmmError } from "../errors.ts";
import type { SupervisedProcess } from "../supervisor/supervisor-client.ts";
import { exitReason } from "../vm/exit-reason.ts";
import { addEvent, liveOf, type Live, type Vm, type VmState } from "../vm/vm.ts";
import type { FleetContext } from "./context.ts";

export interface Presence {
  /** A call of the supervisor, once more with another supervisor where this one is gone. */
  supervised<T>(work: () => Promise<T>): Promise<T>;
  /** The supervisor's processes by id. */
  list(): Promise<Map<string, SupervisedProcess>>;
  /** Asks about all VMs. */
  refresh(): Promise<void>;
  /** Asks about one. @returns its process, running or ended, where the supervisor knows one */
  look(vm: Vm): Promise<SupervisedProcess | undefined>;
  /** Takes over what the supervisor just showed. */
  seen(vm: Vm, process: SupervisedProcess | undefined): Promise<void>;
  /** As `look`, after a deploy: a QEMU that has ended already ended in this start. */
  lookAfterDeploy(vm: Vm): Promise<SupervisedProcess | undefined>;
}

const GONE = ["ECONNREFUSED", "ENOENT", "ECONNRESET", "EPIPE"];

export function createPresence(context: FleetContext): Presence {
  const { vms, supervisor, config, log, clock } = context;

  const supervised: Presence["supervised"] = async (work) => {
    try {
      return await work();
    } catch (error) {
      const system = error instanceof VmmError ? String(error.facts["system"]) : "";
      if (!GONE.includes(system)) throw error;
      // One that was killed left its processes running; another finds them.
      log.warn({ error: errorChain(error) }, "the supervisor is gone, starting another");
      await context.ensureSupervisor();
      return await work();
    }
  };

  const goLive = (vm: Vm, process: SupervisedProcess): Live => ({
    process,
    channel:
      liveOf(vm.state)?.channel ??
      openHostChannel({
        socketPath: vm.folder.file.channelSocket,
        handle: context.hostApi(vm),
        log: log.child({ vm: vm.id }),
      }),
  });

  const seen = async (vm: Vm, process: SupervisedProcess | undefined): Promise<void> => {
    if (process?.state.status === "running") {
      vm.state = whileRunning(vm.state, goLive(vm, process));
      return;
    }
    liveOf(vm.state)?.channel.close();
    if (vm.state.kind === "running") await ended(vm, process);
    else vm.state = afterEnd(vm.state, process);
  };

  /** It was to run. */
  const ended = async (vm: Vm, process: SupervisedProcess | undefined): Promise<void> => {
    const before = vm.state;
    const reason = process === undefined ? "" : await exitReason(vm, process.state.status);
    // Somebody else saw the same while the log was read.
    if (vm.state !== before) return;
    vm.state = { kind: "exited", ended: process, reason };
    if (process === undefined) return;
    addEvent(vm, "vmm.exited", reason, clock.now(), config.eventBufferSize);
    log.warn({ vm: vm.id, reason, bootError: vm.bootError || undefined }, "VM ended");
  };

  const ask = (vm: Vm): Promise<SupervisedProcess | undefined> => supervised(() => supervisor.info(vm.id));
  const list = async (): Promise<Map<string, SupervisedProcess>> =>
    new Map((await supervised(() => supervisor.list())).map((process) => [process.config.id, process]));

  return {
    supervised,
    list,
    seen,
    refresh: async () => {
      const asked = [...vms.values()].map((vm) => [vm, vm.state] as const);
      const processes = await list();
      for (const [vm, state] of asked) if (vm.state === state) await seen(vm, processes.get(vm.id));
    },
    look: async (vm) => {
      const process = await ask(vm);
      await seen(vm, process);
      return process;
    },
    lookAfterDeploy: async (vm) => {
      const process = await ask(vm);
      if (vm.state.kind === "starting" && process?.state.status !== "running") await ended(vm, process);
      else await seen(vm, process);
      return process;
    },
  };
}

/** The state of a VM whose QEMU is seen running. */
export function whileRunning(state: VmState, live: Live): VmState {
  switch (state.kind) {
    case "starting":
    case "running":
    case "exited":
      return { kind: "running", live };
    case "stopped":
    case "stopping":
      return { kind: "stopping", live };
    case "broken":
      return { ...state, live };
    case "removing":
      return { kind: "removing", live };
    default:
      return state satisfies never;
  }
}

/** The state of a VM that did not count as running, and whose QEMU is not seen running. */
function afterEnd(state: Exclude<VmState, { kind: "running" }>, ended: SupervisedProcess | undefined): VmState {
  switch (state.kind) {
    case "starting":
      return state; // Its start is under way and will tell.
    case "stopped":
    case "stopping":
      return { kind: "stopped", ended };
    case "exited":
      return { ...state, ended };
    case "broken":
      return { ...state, live: undefined };
    case "removing":
      return { kind: "removing", live: undefined };
    default:
      return state satisfies never;
  }
}
