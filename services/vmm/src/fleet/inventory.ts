/**
 * Which VMs there are. In: the run path's folders and requests for new ones. Out: the fleet's map,
 * each VM with its CID, found again where it runs, marked `broken` where its files cannot be used.
 * Never: a half-made VM that stays, or one damaged folder that keeps the others from loading.
 */
import { randomUUID } from "node:crypto";
import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { errorChain } from "@dstack/errors";
import { VmmError } from "../errors.ts";
import { cidFor } from "../launch/id-pool.ts";
import { loadGuestImage } from "../launch/guest-image.ts";
import { checkPortsFree } from "../launch/port-mapping.ts";
import { isVmNote, type SupervisedProcess } from "../supervisor/supervisor-client.ts";
import { emptyManifest, isVmId } from "../vm/manifest.ts";
import { listVmFolders, vmFolder } from "../vm/vm-folder.ts";
import { isStarted, liveOf, markedStarted, markedStopped, newVm, stateFromDisk, type Vm } from "../vm/vm.ts";
import { othersOf, type FleetContext } from "./context.ts";
import type { Power } from "./power.ts";
import { whileRunning, type Presence } from "./presence.ts";
import { removeLeftovers, writeNewVm } from "./vm-draft.ts";
import {
  checkCapacity,
  checkImageFits,
  checkPortsAgainst,
  manifestOf,
  readCompose,
  type VmConfiguration,
} from "./vm-request.ts";

export interface Inventory {
  /** Finds all VMs again; starts those that should run. @returns how many are new, known, and gone from disk */
  load(): Promise<{ loaded: number; updated: number; removed: number }>;
  /** @returns the new VM's id */
  create(request: VmConfiguration): Promise<string>;
}

const PARALLEL_STARTS = 2;

export function createInventory(context: FleetContext, presence: Presence, power: Power): Inventory {
  const { config, log, supervisor, vms, pool, queue } = context;

  const load: Inventory["load"] = async () => {
    await mkdir(config.runPath, { recursive: true, mode: 0o700 });
    await removeLeftovers(config.runPath);
    const processes = await presence.list();
    const isRunning = (id: string): boolean => processes.get(id)?.state.status === "running";
    const names = (await listVmFolders(config.runPath)).filter(isVmId);
    const known = names.flatMap((id) => vms.get(id) ?? []);
    for (const vm of known) await queue(vm.id, () => readFolder(vm));
    const vanished = [...vms.values()].filter(({ id, state }) => !names.includes(id) && state.kind !== "removing");
    const fresh: Vm[] = [];
    // Running VMs first: their CIDs are taken whatever the others would like.
    for (const id of names.toSorted((a, b) => Number(isRunning(b)) - Number(isRunning(a))))
      if (!vms.has(id)) fresh.push(await loadNew(id, processes.get(id)));
    await stopOrphans(processes.values());
    for (const vm of vanished)
      await queue(vm.id, async () => {
        vm.state = { kind: "removing", live: liveOf(vm.state) };
      });
    for (const vm of [...vanished, ...fresh.filter(({ state }) => state.kind === "removing")])
      void power.finishRemoval(vm);
    void startMarked(fresh.filter(({ state, bootError }) => state.kind === "exited" && bootError === ""));
    return { loaded: fresh.length, updated: known.length, removed: vanished.length };
  };

  const loadNew = async (id: string, process: SupervisedProcess | undefined): Promise<Vm> => {
    const vm = newVm(id, vmFolder(join(config.runPath, id)), emptyManifest(id));
    await readFolder(vm);
    vm.cid = takeCid(vm, process);
    await presence.seen(vm, process);
    if (liveOf(vm.state) !== undefined) vm.bootProgress = "running";
    vms.set(id, vm);
    return vm;
  };

  /** What is on disk, as it is now; what runs stays as it was seen. */
  const readFolder = async (vm: Vm): Promise<void> => {
    const { id, folder } = vm;
    if (vm.state.kind === "removing") return;
    const live = liveOf(vm.state);
    try {
      await folder.finishChange();
      const kept = await folder.readState();
      const manifest = await folder.readManifest();
      if (manifest.id !== id)
        throw new VmmError("vm-broken", `vm-manifest.json names VM ${manifest.id}, but its folder is ${id}`);
      if ((await folder.readCompose()) === undefined)
        throw new VmmError("vm-broken", `Failed to read compose file: ${folder.file.compose} is missing`);
      vm.manifest = manifest;
      vm.bootError = kept.bootError;
      if (vm.state.kind === "broken")
        vm.state = live === undefined ? stateFromDisk(kept) : whileRunning(stateFromDisk(kept), live);
      else if (kept.started !== isStarted(vm.state))
        vm.state = (kept.started ? markedStarted : markedStopped)(vm.state);
      vm.imageVersion = await loadGuestImage(config.imagePath, manifest.image).then(
        (image) => image.version,
        () => "",
      );
    } catch (error) {
      vm.state = { kind: "broken", reason: errorChain(error), live };
      log.error({ vm: id, error: vm.state.reason }, "VM cannot be used; it is listed with this reason");
    }
    if (await exists(folder.file.removing)) vm.state = { kind: "removing", live };
  };

  const takeCid = (vm: Vm, process: SupervisedProcess | undefined): number | undefined => {
    const own = process?.state.status === "running" ? (process.config.cid ?? undefined) : undefined;
    if (own === undefined) return pool.allocate();
    try {
      pool.occupy(own);
    } catch (error) {
      log.warn({ vm: vm.id, cid: own, error: errorChain(error) }, "CID of a running VM is not tracked");
    }
    return own;
  };

  const startMarked = async (marked: Vm[]): Promise<void> => {
    const next = marked.values();
    const worker = async (): Promise<void> => {
      for (const vm of next) {
        await queue(vm.id, async () => {
          if (vm.state.kind === "exited") await power.start(vm);
        }).catch((error: unknown) =>
          log.error({ vm: vm.id, error: errorChain(error) }, "VM could not be started again"),
        );
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

  const create: Inventory["create"] = async (request) => {
    const compose = readCompose(request.composeFile);
    const id = randomUUID();
    const manifest = manifestOf({ request, config, compose, id, nowMs: context.clock.now() });
    checkImageFits(await loadGuestImage(config.imagePath, manifest.image), compose);
    checkPortsAgainst(manifest.port_map, othersOf(context, id));
    await checkPortsFree(manifest.port_map);
    if (!request.stopped) checkCapacity(manifest, othersOf(context, id), config.cvm);
    const cid = cidFor(pool, config.cvm.cidPoolSize);
    const vm = newVm(id, vmFolder(join(config.runPath, id)), manifest);
    vm.cid = cid;
    vms.set(id, vm);
    try {
      await writeNewVm(vm, request, compose.bytes);
      log.info({ vm: id, name: manifest.name, app: manifest.app_id }, "VM created");
      if (!request.stopped) await queue(id, () => power.start(vm));
    } catch (error) {
      await undoCreate(vm);
      throw error;
    }
    return id;
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
    power.forget(vm);
    await vm.folder.remove();
  };

  return { load, create };
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
