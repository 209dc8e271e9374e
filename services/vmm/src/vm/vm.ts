/**
 * One VM as the VMM knows it, and how it stands:
 *
 *                     start                QEMU runs
 *      ┌─────────┐ ────────> ┌──────────┐ ─────────> ┌─────────┐
 *   ──>│ stopped │           │ starting │            │ running │
 *      └─────────┘ <──────── └──────────┘            └─────────┘
 *           ^        failed    ^      │                │     │
 *           │                  │      │ failed         │     │ stop, the guest powers off
 *           │    start, restart│      v     QEMU ended │     v
 *           │                ┌────────┐                │  ┌──────────┐
 *           │ <───────────── │ exited │ <──────────────┘  │ stopping │
 *           │       stop     └────────┘                   └──────────┘
 *           └──────────────────────────────────────────────────┘ QEMU ended
 *
 *   any ── its files cannot be used ──> broken ── reload finds them whole ──> stopped, exited
 *   any ── remove ──> removing ── QEMU ended, folder deleted ──> gone
 *
 * In: what is on disk, what the supervisor shows, what the guest says. Out: one `VmState`, whose
 * members are those that are legal in it. Never: a state put together from flags elsewhere.
 */
import type { VmChannel } from "@dstack/vm-channel";
import type { Networking } from "../config/config-schema.ts";
import type { VmmConfig } from "../config/vmm-config.ts";
import type { SupervisedProcess } from "../supervisor/supervisor-client.ts";
import { FRESH, type RestartState } from "./auto-restart.ts";
import type { Manifest } from "./manifest.ts";
import type { KeptState, VmFolder } from "./vm-folder.ts";

/** QEMU while it runs: its process as the supervisor showed it last, and the channel to its guest. */
export interface Live {
  readonly process: SupervisedProcess;
  readonly channel: VmChannel;
}

/** The process after its end, where the supervisor still knows it. */
type Ended = SupervisedProcess | undefined;

export type VmState =
  | { readonly kind: "stopped"; readonly ended: Ended }
  | { readonly kind: "starting" }
  | { readonly kind: "running"; readonly live: Live }
  | { readonly kind: "stopping"; readonly live: Live }
  /** It is to run and does not. `reason`: how QEMU ended or why it could not be started, "" where nobody saw. */
  | { readonly kind: "exited"; readonly ended: Ended; readonly reason: string }
  /** It cannot be started, and is listed so that it can be removed. Its QEMU may run on from better days. */
  | { readonly kind: "broken"; readonly reason: string; readonly live: Live | undefined }
  | { readonly kind: "removing"; readonly live: Live | undefined };

export interface GuestEvent {
  readonly event: string;
  readonly body: string;
  readonly timestampMs: number;
}

export interface Vm {
  readonly id: string;
  readonly folder: VmFolder;
  manifest: Manifest;
  state: VmState;
  cid: number | undefined;
  bootProgress: string;
  /** Why the guest refused to boot, kept on disk; such a VM is not restarted by itself. */
  bootError: string;
  shutdownProgress: string;
  imageVersion: string;
  events: GuestEvent[];
  restart: RestartState;
  notifyWindow: { startedMs: number; count: number };
}

export function newVm(id: string, folder: VmFolder, manifest: Manifest): Vm {
  return {
    id,
    folder,
    manifest,
    state: { kind: "stopped", ended: undefined },
    cid: undefined,
    bootProgress: "",
    bootError: "",
    shutdownProgress: "",
    imageVersion: "",
    events: [],
    restart: FRESH,
    notifyWindow: { startedMs: 0, count: 0 },
  };
}

/** As it stands by what is kept on disk, before the supervisor was asked. */
export const stateFromDisk = ({ started }: Pick<KeptState, "started">): VmState =>
  started ? { kind: "exited", ended: undefined, reason: "" } : { kind: "stopped", ended: undefined };

/** Whether it is meant to run. This bit outlives the VMM. */
export function isStarted(state: VmState): boolean {
  switch (state.kind) {
    case "starting":
    case "running":
    case "exited":
      return true;
    case "stopped":
    case "stopping":
    case "broken":
    case "removing":
      return false;
    default:
      return state satisfies never;
  }
}

/** What runs of it, whether it is meant to or not. */
export function liveOf(state: VmState): Live | undefined {
  switch (state.kind) {
    case "running":
    case "stopping":
    case "broken":
    case "removing":
      return state.live;
    case "stopped":
    case "starting":
    case "exited":
      return undefined;
    default:
      return state satisfies never;
  }
}

/** The process, running or ended, as the supervisor showed it last. */
export function processOf(state: VmState): SupervisedProcess | undefined {
  return state.kind === "stopped" || state.kind === "exited" ? state.ended : liveOf(state)?.process;
}

/** The state after a decision that it is no longer meant to run; QEMU itself may go on for a while. */
export function markedStopped(state: VmState): VmState {
  switch (state.kind) {
    case "running":
      return { kind: "stopping", live: state.live };
    case "starting":
      return { kind: "stopped", ended: undefined };
    case "exited":
      return { kind: "stopped", ended: state.ended };
    case "stopped":
    case "stopping":
    case "broken":
    case "removing":
      return state;
    default:
      return state satisfies never;
  }
}

/** The state after a decision that it is meant to run; a VM that does not by then has to be started. */
export function markedStarted(state: VmState): VmState {
  switch (state.kind) {
    case "stopping":
      return { kind: "running", live: state.live };
    case "stopped":
      return { kind: "exited", ended: state.ended, reason: "" };
    case "starting":
    case "running":
    case "exited":
    case "broken":
    case "removing":
      return state;
    default:
      return state satisfies never;
  }
}

/** The word of the API. A VM that is about to run has none of its own there: it is not running yet. */
export function vmStatus({ kind }: VmState): "removing" | "broken" | "running" | "exited" | "stopping" | "stopped" {
  return kind === "starting" ? "exited" : kind;
}

/** Keeps an event; one that only repeats the last is left out, so that waiting does not push out what came before. */
export function addEvent(vm: Vm, event: string, body: string, timestampMs: number, capacity: number): void {
  const last = vm.events.at(-1);
  if (last?.event === event && last.body === body) return;
  vm.events.push({ event, body, timestampMs });
  if (vm.events.length > capacity) vm.events.splice(0, vm.events.length - capacity);
}

/** A VM without networks of its own has the node's one. */
export const networksOf = (vm: Pick<Vm, "manifest">, config: VmmConfig): readonly Networking[] =>
  vm.manifest.networks.length > 0 ? vm.manifest.networks : [config.cvm.networking];
