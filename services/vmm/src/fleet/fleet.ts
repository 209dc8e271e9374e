import { randomUUID } from "node:crypto";
import { access, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@dstack/log";
import { openHostChannel, type ChannelHandler } from "@dstack/vm-channel";
import { writeFileAtomic } from "@dstack/files";
import { errorChain } from "@dstack/errors";
import { FRESH } from "../vm/auto-restart.ts";
import { VmmError } from "../errors.ts";
import { exitReason } from "../vm/exit-reason.ts";
import { loadGuestImage } from "../launch/guest-image.ts";
import { createIdPool } from "../launch/id-pool.ts";
import { keyedQueue } from "./keyed-queue.ts";
import { checkVmId, isVmId } from "../vm/manifest.ts";
import { checkPortsFree } from "../launch/port-mapping.ts";
import { prepareLaunch, writeHostShare, type Launcher } from "../launch/start-vm.ts";
import { isVmNote, type SupervisedProcess, type SupervisorClient } from "../supervisor/supervisor-client.ts";
import { applyUpdate, planUpdate, type UpdateRequest } from "./update-vm.ts";
import { listVmFolders, vmFolder } from "../vm/vm-folder.ts";
import {
  checkCapacity,
  checkImageFits,
  checkPortsAgainst,
  manifestOf,
  readCompose,
  type VmConfiguration,
} from "./vm-request.ts";
import { addEvent, emptyManifest, isRunning, newVm, type Vm } from "../vm/vm.ts";

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

/** The VMs of this host: loaded from disk, changed one step at a time each, never stopped by our own end. */
export interface Fleet {
  /** Finds all VMs again, running ones with their channels; starts those that should run. */
  load(): Promise<{ loaded: number; updated: number; removed: number }>;
  /** Reads the supervisor's view anew. */
  refresh(): Promise<void>;
  all(): Vm[];
  find(id: string): Vm | undefined;
  /** @throws VmmError `not-found` */
  get(id: string): Vm;
  /** @returns the new VM's id */
  create(request: VmConfiguration): Promise<string>;
  start(id: string): Promise<void>;
  /** As `start`, and the count of automatic restarts goes on. */
  restart(id: string): Promise<void>;
  stop(id: string): Promise<void>;
  setState(vm: Vm, change: Partial<Vm["state"]>): Promise<void>;
  remove(id: string): Promise<void>;
  /** @returns the first 20 bytes of the new compose hash in hex, or "" */
  update(request: UpdateRequest): Promise<string>;
  close(): void;
}

const PARALLEL_STARTS = 2;
const DRAFT_PREFIX = ".new-";
/** The queue of what concerns the VMs together. A symbol, since any word may be a VM's id. */
const INVENTORY = Symbol("inventory");

export function createFleet(options: FleetOptions): Fleet {
  const { config, log, supervisor, clock } = options;
  const vms = new Map<string, Vm>();
  const pool = createIdPool(config.cvm.cid_start, config.cvm.cid_start + config.cvm.cid_pool_size);
  const queue = keyedQueue();
  const stopping = new AbortController();

  const others = (id: string): Vm[] => [...vms.values()].filter((vm) => vm.id !== id && !vm.removing);

  /** A supervisor that was killed left its processes running: start another, which finds them, and ask again. */
  const supervised = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      const code = error instanceof VmmError ? ((error.cause as NodeJS.ErrnoException | undefined)?.code ?? "") : "";
      if (!["ECONNREFUSED", "ENOENT", "ECONNRESET", "EPIPE"].includes(code)) throw error;
      log.warn("the supervisor is gone, starting another");
      await options.ensureSupervisor();
      return await work();
    }
  };

  const get = (id: string): Vm => {
    const vm = vms.get(id);
    if (vm === undefined) throw new VmmError("not-found", "VM not found");
    return vm;
  };

  /** A removal may wait for hours; nothing else queues up behind it. */
  const getLasting = (id: string): Vm => {
    const vm = get(id);
    if (vm.removing) throw new VmmError("conflict", "VM is being removed");
    return vm;
  };

  const connect = (vm: Vm): void => {
    vm.channel ??= openHostChannel({
      socketPath: vm.folder.file.channelSocket,
      handle: options.hostApi(vm),
      log: log.child({ vm: vm.id }),
    });
  };

  const disconnect = (vm: Vm): void => {
    vm.channel?.close();
    vm.channel = undefined;
  };

  const seen = async (vm: Vm, process: SupervisedProcess | undefined): Promise<void> => {
    vm.process = process;
    if (isRunning(vm)) {
      connect(vm);
      return;
    }
    if (vm.channel === undefined) return;
    disconnect(vm);
    if (!vm.state.started || process === undefined) return;
    vm.exitReason = await exitReason(vm, process.state.status);
    addEvent(vm, "vmm.exited", vm.exitReason, clock.now(), config.event_buffer_size);
    log.warn({ vm: vm.id, reason: vm.exitReason, bootError: vm.state.bootError || undefined }, "VM ended");
  };

  const refresh = async (): Promise<void> => {
    const processes = new Map(
      (await supervised(() => supervisor.list())).map((process) => [process.config.id, process]),
    );
    for (const vm of vms.values()) await seen(vm, processes.get(vm.id));
  };

  const setState = async (vm: Vm, state: Vm["state"]): Promise<void> => {
    if (state.started === vm.state.started && state.bootError === vm.state.bootError) return;
    await vm.folder.writeState(state);
    vm.state = state;
  };

  const startNow = async (vm: Vm): Promise<void> => {
    if (vm.broken !== undefined) throw new VmmError("vm-broken", `VM ${vm.id} cannot be started: ${vm.broken}`);
    const image = await loadGuestImage(config.imagePath, vm.manifest.image);
    vm.imageVersion = image.version;
    await seen(vm, await supervised(() => supervisor.info(vm.id)));
    const running = isRunning(vm);
    if (!running) checkCapacity(vm.manifest, others(vm.id), config.cvm);
    const binding = await writeHostShare(vm, image, options);
    const before = vm.state;
    await setState(vm, { started: true, bootError: "" });
    const reports = image.metadata.shared_ro;
    vm.bootProgress = reports ? (running ? "running" : "booting") : "N/A";
    vm.shutdownProgress = reports ? "" : "N/A";
    if (running) return;
    vm.exitReason = "";
    try {
      const request = await prepareLaunch(vm, image, binding, options);
      await supervised(() => supervisor.deploy(request));
    } catch (cause) {
      await setState(vm, before);
      vm.bootProgress = "";
      if (cause instanceof VmmError && cause.code === "supervisor-failed")
        throw new VmmError("supervisor-failed", `failed to start process ${vm.id}`, { cause });
      throw cause;
    }
    await seen(vm, await supervised(() => supervisor.info(vm.id)));
    log.info({ vm: vm.id, name: vm.manifest.name, pid: vm.process?.state.pid }, "VM started");
  };

  const stopNow = async (vm: Vm): Promise<void> => {
    if (vm.broken === undefined) await setState(vm, { ...vm.state, started: false });
    else vm.state = { ...vm.state, started: false };
    if ((await supervised(() => supervisor.info(vm.id))) !== undefined) await supervised(() => supervisor.stop(vm.id));
    await seen(vm, await supervised(() => supervisor.info(vm.id)));
  };

  const forget = (vm: Vm): void => {
    disconnect(vm);
    if (vm.cid !== undefined) pool.free(vm.cid);
    vms.delete(vm.id);
  };

  /** Tearing down a large VM can take hours, so its end is awaited without limit. */
  const finishRemoval = async (vm: Vm): Promise<void> => {
    const pauseMs = options.removePollMs ?? 500;
    while (!stopping.signal.aborted) {
      try {
        await stopNow(vm);
        if (!isRunning(vm)) {
          if (vm.process !== undefined) await supervised(() => supervisor.remove(vm.id));
          await vm.folder.remove();
          forget(vm);
          log.info({ vm: vm.id }, "VM removed");
          return;
        }
      } catch (error) {
        log.warn({ vm: vm.id, error: errorChain(error) }, "VM cannot be removed yet");
      }
      await sleep(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined);
    }
  };

  const loadOne = async (id: string, running: ReadonlyMap<string, SupervisedProcess>): Promise<Vm> => {
    const folder = vmFolder(join(config.runPath, id));
    const old = vms.get(id);
    const vm = old ?? newVm(id, folder, emptyManifest(id), { started: false, bootError: "" });
    vm.process = running.get(id);
    vm.removing ||= await exists(folder.file.removing);
    try {
      vm.state = await folder.readState();
      vm.manifest = await folder.readManifest();
      if (vm.manifest.id !== id)
        throw new VmmError("vm-broken", `vm-manifest.json names VM ${vm.manifest.id}, but its folder is ${id}`);
      if ((await folder.readCompose()) === undefined)
        throw new VmmError("vm-broken", `Failed to read compose file: ${folder.file.compose} is missing`);
      vm.broken = undefined;
      vm.imageVersion = await loadGuestImage(config.imagePath, vm.manifest.image).then(
        (image) => image.version,
        () => "",
      );
    } catch (error) {
      vm.broken = errorChain(error);
      log.error({ vm: id, error: vm.broken }, "VM cannot be used; it is listed with this reason");
    }
    vm.cid ??= takeCid(vm);
    if (isRunning(vm)) {
      if (vm.bootProgress === "") vm.bootProgress = "running";
      connect(vm);
    }
    vms.set(id, vm);
    return vm;
  };

  const takeCid = (vm: Vm): number | undefined => {
    const own = isRunning(vm) ? (vm.process?.config.cid ?? undefined) : undefined;
    if (own !== undefined) {
      try {
        pool.occupy(own);
      } catch (error) {
        log.warn({ vm: vm.id, cid: own, error: errorChain(error) }, "CID of a running VM is not tracked");
      }
      return own;
    }
    return pool.allocate();
  };

  const startMarked = async (marked: Vm[]): Promise<void> => {
    const next = marked.values();
    const worker = async (): Promise<void> => {
      for (const vm of next) {
        await queue(vm.id, () => startNow(vm)).catch((error: unknown) => {
          vm.exitReason = errorChain(error);
          log.error({ vm: vm.id, error: vm.exitReason }, "VM could not be started again");
        });
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_STARTS }, worker));
  };

  /** VMs of ours in the supervisor whose folder is gone. */
  const stopOrphans = async (processes: Iterable<SupervisedProcess>): Promise<void> => {
    for (const { config: process } of processes) {
      if (vms.has(process.id) || !isVmNote(process.note) || !process.pidfile.startsWith(`${config.runPath}/`)) continue;
      log.warn({ vm: process.id }, "stopping a VM without a work directory");
      await supervisor.stop(process.id);
      await supervisor
        .remove(process.id)
        .catch((error: unknown) =>
          log.warn({ vm: process.id, error: errorChain(error) }, "not removed from the supervisor"),
        );
    }
  };

  const load = async (): Promise<{ loaded: number; updated: number; removed: number }> => {
    await mkdir(config.runPath, { recursive: true, mode: 0o700 });
    await removeDrafts();
    const processes = new Map(
      (await supervised(() => supervisor.list())).map((process) => [process.config.id, process]),
    );
    const names = (await listVmFolders(config.runPath)).filter(isVmId);
    const counts = { loaded: 0, updated: 0, removed: 0 };
    // Running VMs first: their CIDs are taken whatever the others would like.
    const runningFirst = names.toSorted(
      (a, b) =>
        Number(processes.get(b)?.state.status === "running") - Number(processes.get(a)?.state.status === "running"),
    );
    const fresh: Vm[] = [];
    for (const id of runningFirst) {
      if (vms.has(id)) counts.updated++;
      else counts.loaded++;
      const isNew = !vms.has(id);
      const vm = await loadOne(id, processes);
      if (isNew) fresh.push(vm);
    }
    for (const vm of vms.values()) {
      if (names.includes(vm.id)) continue;
      counts.removed++;
      vm.removing = true;
      void queue(vm.id, () => finishRemoval(vm));
    }
    await stopOrphans(processes.values());
    for (const vm of fresh.filter((vm) => vm.removing)) void queue(vm.id, () => finishRemoval(vm));
    void startMarked(
      fresh.filter(
        (vm) =>
          vm.state.started && vm.state.bootError === "" && vm.broken === undefined && !vm.removing && !isRunning(vm),
      ),
    );
    return counts;
  };

  /** Made under a hidden name and renamed when whole: a VMM killed in between leaves no half VM. */
  const writeNew = async (vm: Vm, request: VmConfiguration, compose: Uint8Array): Promise<void> => {
    await mkdir(config.runPath, { recursive: true, mode: 0o700 });
    const draft = vmFolder(join(config.runPath, `${DRAFT_PREFIX}${vm.id}`));
    try {
      await draft.create();
      await draft.writeManifest(vm.manifest);
      await draft.writeCompose(compose);
      if (request.encryptedEnv.length > 0) await draft.writeEncryptedEnv(request.encryptedEnv);
      if (request.userConfig !== "") await draft.writeUserConfig(request.userConfig);
      if (vm.manifest.app_id !== "") await draft.writeInstanceInfo({ appId: vm.manifest.app_id });
      await draft.writeState(vm.state);
      await rename(draft.path, vm.folder.path);
    } catch (error) {
      await draft.remove();
      throw error;
    }
  };

  const removeDrafts = async (): Promise<void> => {
    for (const name of await readdir(config.runPath)) {
      if (name.startsWith(DRAFT_PREFIX)) await rm(join(config.runPath, name), { recursive: true, force: true });
    }
  };

  const undoCreate = async (vm: Vm): Promise<void> => {
    if ((await supervisor.info(vm.id).catch(() => undefined)) !== undefined) {
      await supervisor
        .stop(vm.id)
        .catch((error: unknown) =>
          log.error({ vm: vm.id, error: errorChain(error) }, "VM that was not created still runs"),
        );
      await supervisor
        .remove(vm.id)
        .catch((error: unknown) =>
          log.warn({ vm: vm.id, error: errorChain(error) }, "not removed from the supervisor"),
        );
    }
    forget(vm);
    await vm.folder.remove();
  };

  const createNow = async (request: VmConfiguration): Promise<string> => {
    const compose = readCompose(request.composeFile);
    const id = randomUUID();
    const manifest = manifestOf(request, config, compose, id, clock.now());
    checkImageFits(await loadGuestImage(config.imagePath, manifest.image), compose);
    checkPortsAgainst(manifest.port_map, others(id));
    await checkPortsFree(manifest.port_map);
    if (!request.stopped) checkCapacity(manifest, others(id), config.cvm);
    const cid = pool.allocate();
    if (cid === undefined)
      throw new VmmError(
        "pool-exhausted",
        `CID pool exhausted: ${config.cvm.cid_pool_size} VMs exist (cvm.cid_pool_size)`,
      );
    const vm = newVm(id, vmFolder(join(config.runPath, id)), manifest, { started: false, bootError: "" });
    vm.cid = cid;
    vms.set(id, vm);
    try {
      await writeNew(vm, request, compose.bytes);
      log.info({ vm: id, name: manifest.name, app: manifest.app_id }, "VM created");
      if (!request.stopped) await queue(id, () => startNow(vm));
    } catch (error) {
      await undoCreate(vm);
      throw error;
    }
    return id;
  };

  return {
    load: () => queue(INVENTORY, load),
    refresh,
    all: () =>
      [...vms.values()].toSorted(
        (a, b) => a.manifest.created_at_ms - b.manifest.created_at_ms || (a.id < b.id ? -1 : 1),
      ),
    find: (id) => vms.get(id),
    get,
    create: (request) => queue(INVENTORY, () => explainFullDisk(config.runPath, () => createNow(request))),
    start: async (id) => {
      getLasting(id);
      await queue(id, async () => {
        const vm = getLasting(id);
        vm.restart = FRESH;
        await explainFullDisk(config.runPath, () => startNow(vm));
      });
    },
    restart: (id) => queue(id, () => explainFullDisk(config.runPath, () => startNow(getLasting(id)))),
    stop: async (id) => {
      getLasting(id);
      await queue(id, async () => {
        const vm = getLasting(id);
        vm.restart = FRESH;
        await stopNow(vm);
        log.info({ vm: id }, "VM stopped");
      });
    },
    setState: (vm, change) => queue(vm.id, () => setState(vm, { ...vm.state, ...change })),
    remove: async (id) => {
      const vm = get(id);
      if (vm.removing) return;
      vm.removing = true;
      await writeFileAtomic(vm.folder.file.removing, "").catch((error: unknown) =>
        log.warn({ vm: id, error: errorChain(error) }, "the mark of a removal could not be written"),
      );
      void queue(id, () => finishRemoval(vm));
    },
    update: async (request) => {
      getLasting(checkVmId(request.id));
      return queue(INVENTORY, () =>
        queue(request.id, async () => {
          const vm = getLasting(request.id);
          await seen(vm, await supervised(() => supervisor.info(vm.id)));
          const plan = await planUpdate(vm, request, config, others(vm.id));
          await explainFullDisk(config.runPath, () => applyUpdate(vm, plan, options.qemu.imgPath));
          log.info({ vm: vm.id, parts: plan.parts }, "VM updated");
          return plan.composeId;
        }),
      );
    },
    close: () => {
      stopping.abort();
      for (const vm of vms.values()) disconnect(vm);
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

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
