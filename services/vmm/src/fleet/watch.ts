import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { onExited, onRunning } from "../vm/auto-restart.ts";
import type { Fleet } from "./fleet.ts";
import { rotateLog } from "../logs/log-rotation.ts";
import { stat } from "node:fs/promises";
import { addEvent, liveOf, type Vm } from "../vm/vm.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

export interface WatchOptions {
  readonly fleet: Fleet;
  readonly config: VmmConfig;
  readonly log: Logger;
  readonly clock: { now(): number };
  readonly periodMs?: number;
}

const PERIOD_MS = 1_000;

/** Looks after the VMs until stopped: notices ends, restarts by the policy, rotates logs. */
export function startWatch(options: WatchOptions): { stop(): void } {
  let lastRestartMs = Number.NEGATIVE_INFINITY;
  let lastRotationMs = Number.NEGATIVE_INFINITY;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    const now = options.clock.now();
    await options.fleet.refresh();
    const { autoRestart: policy, log: rotation } = options.config.cvm;
    if (policy.enabled && now - lastRestartMs >= policy.interval * 1_000) {
      lastRestartMs = now;
      for (const vm of options.fleet.all()) await considerRestart(vm, options, now);
    }
    if (rotation.maxBytes > 0 && now - lastRotationMs >= Math.max(1, rotation.checkIntervalSecs) * 1_000) {
      lastRotationMs = now;
      for (const vm of options.fleet.all().filter(({ state }) => liveOf(state) !== undefined))
        await rotateLarge(vm, options.config, now);
    }
  };
  /** Never rejects: what goes wrong is logged, and the next look is another try. */
  const round = async (): Promise<void> => {
    try {
      await look();
    } catch (error) {
      options.log.error({ error: errorChain(error) }, "looking after the VMs failed; trying again");
    }
    if (!stopped) timer = setTimeout(() => void round(), options.periodMs ?? PERIOD_MS);
  };
  void round();
  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** A VM whose guest refused to boot is not restarted: the same files would be refused again, for ever. */
async function considerRestart(vm: Vm, { fleet, config, log }: WatchOptions, nowMs: number): Promise<void> {
  const policy = config.cvm.autoRestart;
  const now = nowMs / 1_000;
  if (vm.state.kind === "running") vm.restart = onRunning(vm.restart, policy, now).state;
  if (vm.state.kind !== "exited" || vm.bootError !== "") return;
  const { state, decision } = onExited(vm.restart, policy, now);
  vm.restart = state;
  switch (decision.kind) {
    case "wait":
      return;
    case "scheduled":
      log.warn({ vm: vm.id, delay: decision.delay, reason: vm.state.reason }, "VM ended and will be started again");
      return;
    case "exhausted": {
      const text = `Automatic restart stopped after ${decision.attempts} failed attempts`;
      addEvent(vm, "vmm.auto_restart.exhausted", text, nowMs, config.eventBufferSize);
      const reason = vm.state.reason === "" ? text : `${text}: ${vm.state.reason}`;
      vm.state = { ...vm.state, reason };
      log.error({ vm: vm.id, reason }, "automatic restart given up");
      return;
    }
    case "restart":
      log.info({ vm: vm.id, attempt: decision.attempt }, "starting VM again");
      await fleet.restart(vm.id).catch((error: unknown) => {
        const reason = errorChain(error);
        addEvent(vm, "vmm.auto_restart.failed", reason, nowMs, config.eventBufferSize);
        log.error({ vm: vm.id, attempt: decision.attempt, error: reason }, "VM could not be started again");
      });
      return;
    default:
      decision satisfies never;
  }
}

async function rotateLarge(vm: Vm, { cvm }: VmmConfig, nowMs: number): Promise<void> {
  const { file } = vm.folder;
  const logs = [file.stdoutLog, file.stderrLog, ...(appendsSerial(vm) ? [file.serialLog] : [])];
  for (const log of logs) {
    const size = (await stat(log).catch(() => undefined))?.size ?? 0;
    if (size > cvm.log.maxBytes) await rotateLog(log, cvm.log, new Date(nowMs));
  }
}

/** Only a QEMU that appends to its serial log survives that the file is cut. */
function appendsSerial(vm: Vm): boolean {
  try {
    return (
      (JSON.parse(liveOf(vm.state)?.process.config.note ?? "") as { serial_logappend?: unknown }).serial_logappend ===
      true
    );
  } catch {
    return false; // A note of an older VMM.
  }
}
