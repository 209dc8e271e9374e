import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { release } from "node:os";
import { z } from "zod";
import { readTextIfExists, writeJsonAtomic } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { run } from "@dstack/process";
import { checkTcgVersion, type QemuBinary } from "./qemu-binary.ts";

export interface Accelerator {
  readonly kind: "kvm" | "tcg";
  /** Why this one, for people. */
  readonly reason: string;
}

export interface AcceleratorOptions {
  readonly wanted: "auto" | "kvm" | "tcg";
  readonly qemu: QemuBinary;
  /** Where the verdict of the trial boot is kept. */
  readonly cacheFile: string;
  readonly log: Logger;
  readonly kvmDevice?: string;
  readonly trialTimeoutMs?: number;
}

const TRIAL_TIMEOUT_MS = 30_000;
/** What a kernel says once it has booted and finds no root file system: it was given none. */
const BOOTED = /VFS: Unable to mount root|No working init found|Unable to mount root fs/;

const verdictSchema = z.object({
  version: z.literal(1),
  hostKernel: z.string(),
  qemuVersion: z.string(),
  kvm: z.boolean(),
  reason: z.string(),
});

/**
 * KVM where a guest really boots with it, else TCG. /dev/kvm alone says little: under some
 * hypervisors it is there and no kernel gets far. So a kernel is booted once, and the verdict
 * kept for this host kernel and QEMU.
 * @param kernel kernel image to try with
 * @throws VmmError `qemu-unusable` when only TCG is left and QEMU is too old for it
 */
export async function chooseAccelerator(options: AcceleratorOptions, kernel: string): Promise<Accelerator> {
  const chosen = await choose(options, kernel);
  if (chosen.kind === "tcg") checkTcgVersion(options.qemu);
  return chosen;
}

async function choose(options: AcceleratorOptions, kernel: string): Promise<Accelerator> {
  const { wanted, qemu, cacheFile, log } = options;
  if (wanted !== "auto") return { kind: wanted, reason: `cvm.accelerator is ${wanted}` };
  const unusable = await openForbidden(options.kvmDevice ?? "/dev/kvm");
  if (unusable !== undefined) return { kind: "tcg", reason: unusable };
  const key = { hostKernel: release(), qemuVersion: qemu.version ?? "" };
  const kept = verdictSchema.safeParse(jsonOrUndefined(await readTextIfExists(cacheFile)));
  if (kept.success && kept.data.hostKernel === key.hostKernel && kept.data.qemuVersion === key.qemuVersion) {
    return { kind: kept.data.kvm ? "kvm" : "tcg", reason: kept.data.reason };
  }
  log.info({ kernel }, "trying whether a guest boots with KVM");
  const trial = await trialBoot(qemu.path, kernel, options.trialTimeoutMs ?? TRIAL_TIMEOUT_MS);
  const reason = trial.booted ? "a guest kernel booted with KVM" : `no guest kernel boots with KVM here: ${trial.why}`;
  await writeJsonAtomic(cacheFile, { version: 1, ...key, kvm: trial.booted, reason });
  log.info({ kvm: trial.booted, reason }, "accelerator chosen");
  return { kind: trial.booted ? "kvm" : "tcg", reason };
}

async function trialBoot(
  qemuPath: string,
  kernel: string,
  timeoutMs: number,
): Promise<{ booted: true } | { booted: false; why: string }> {
  const stop = new AbortController();
  let seen = "";
  const args = [
    "-accel",
    "kvm",
    "-cpu",
    "host",
    "-machine",
    "q35,kernel-irqchip=split,hpet=off",
    "-m",
    "512M",
    "-smp",
    "1",
    "-nographic",
    "-nodefaults",
    "-serial",
    "stdio",
    "-no-reboot",
    "-kernel",
    kernel,
    "-append",
    "console=ttyS0 panic=-1",
  ];
  try {
    await run(qemuPath, args, {
      timeoutMs,
      signal: stop.signal,
      onOutput: (text) => {
        seen = (seen + text).slice(-64 * 1024);
        if (BOOTED.test(seen) || seen.includes("KVM internal error")) stop.abort();
      },
    });
  } catch (error) {
    if (!BOOTED.test(seen))
      return {
        booted: false,
        why: seen.includes("KVM internal error")
          ? "KVM reported an internal error"
          : ((error as Error).message.split("\n")[0] ?? ""),
      };
  }
  return BOOTED.test(seen) ? { booted: true } : { booted: false, why: "QEMU ended before the kernel was up" };
}

async function openForbidden(device: string): Promise<string | undefined> {
  try {
    await (await open(device, constants.O_RDWR)).close();
    return undefined;
  } catch (error) {
    return `${device} cannot be opened (${(error as NodeJS.ErrnoException).code})`;
  }
}

function jsonOrUndefined(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined; // A damaged verdict is found again.
  }
}
