import type { Networking } from "../config/config-schema.ts";
import type { VmmConfig } from "../config/vmm-config.ts";
import type { VmChannel } from "@dstack/vm-channel";
import { FRESH, type RestartState } from "./auto-restart.ts";
import type { Manifest } from "./manifest.ts";
import type { SupervisedProcess } from "../supervisor/supervisor-client.ts";
import type { VmFolder, VmState } from "./vm-folder.ts";

export interface GuestEvent {
  readonly event: string;
  readonly body: string;
  readonly timestampMs: number;
}

/** One VM as the VMM knows it: what is on disk, and what happened since it was loaded. */
export interface Vm {
  readonly id: string;
  readonly folder: VmFolder;
  manifest: Manifest;
  /** Why it cannot be started; it is listed with this reason and can be removed. */
  broken: string | undefined;
  cid: number | undefined;
  state: VmState;
  bootProgress: string;
  shutdownProgress: string;
  /** How QEMU ended, where it should not have. */
  exitReason: string;
  imageVersion: string;
  events: GuestEvent[];
  restart: RestartState;
  removing: boolean;
  /** Open while QEMU runs. */
  channel: VmChannel | undefined;
  /** As the supervisor showed it last. */
  process: SupervisedProcess | undefined;
  notifyWindow: { startedMs: number; count: number };
}

export function newVm(id: string, folder: VmFolder, manifest: Manifest, state: VmState): Vm {
  return {
    id,
    folder,
    manifest,
    broken: undefined,
    cid: undefined,
    state,
    bootProgress: "",
    shutdownProgress: "",
    exitReason: "",
    imageVersion: "",
    events: [],
    restart: FRESH,
    removing: false,
    channel: undefined,
    process: undefined,
    notifyWindow: { startedMs: 0, count: 0 },
  };
}

/** Stands in where the manifest cannot be read, so that the VM is listed and can be removed. */
export function emptyManifest(id: string): Manifest {
  return {
    id,
    name: id,
    app_id: "",
    vcpu: 0,
    memory: 0,
    disk_size: 0,
    image: "",
    port_map: [],
    created_at_ms: 0,
    hugepages: false,
    pin_numa: false,
    gpus: { attach_mode: "listed", gpus: [], bridges: [] },
    kms_urls: [],
    gateway_urls: [],
    no_tee: false,
    simulated_tee: undefined,
    swtpm: false,
    networks: [],
    volumes: [],
  };
}

export const isRunning = (vm: Vm): boolean => vm.process?.state.status === "running";

export type VmStatus = "removing" | "broken" | "running" | "exited" | "stopping" | "stopped";

export function vmStatus(vm: Vm): VmStatus {
  if (vm.removing) return "removing";
  if (isRunning(vm)) return vm.state.started ? "running" : "stopping";
  if (vm.broken !== undefined) return "broken";
  return vm.state.started ? "exited" : "stopped";
}

/** Keeps an event; one that only repeats the last is left out, so that waiting does not push out what came before. */
export function addEvent(vm: Vm, event: string, body: string, timestampMs: number, capacity: number): void {
  const last = vm.events.at(-1);
  if (last?.event === event && last.body === body) return;
  vm.events.push({ event, body, timestampMs });
  if (vm.events.length > capacity) vm.events.splice(0, vm.events.length - capacity);
}

/** A VM without networks of its own has the node's one. */
export const networksOf = (vm: Vm, config: VmmConfig): readonly Networking[] =>
  vm.manifest.networks.length > 0 ? vm.manifest.networks : [config.cvm.networking];
