import { equalBytes, toHex } from "@dstack/bytes";
import { acpiTables } from "./acpi/acpi-tables.ts";
import { eventType } from "./event-types.ts";
import { authenticodeParts } from "./authenticode.ts";
import { rtmr1Events } from "./boot-events.ts";
import { machineOf } from "./machine.ts";
import { measureVm } from "./measure-vm.ts";
import type { Registers, VmFiles, VmMeasurement } from "./measure-vm.ts";
import { qemuDefaults } from "./qemu-profile.ts";
import { replayRtmr } from "./rtmr.ts";
import type { TcgEvent } from "./rtmr.ts";
import { sha384 } from "./sha.ts";
import type { VmConfig } from "./vm-config.ts";

/** A register that is not what the image and the VM configuration say. */
export interface RegisterDifference {
  readonly register: "MRTD" | "RTMR0" | "RTMR1" | "RTMR2";
  /** Lower-case hex, as is `got`. */
  readonly expected: string;
  readonly got: string;
  /** What the register covers and, where the event log tells, the first event that differs. */
  readonly hint: string;
}

/** A log entry as a guest reports it. Register 0 to 3. */
export interface LoggedEvent {
  readonly imr: number;
  readonly eventType: number;
  readonly digest: Uint8Array;
  /** The name that newer agents give, "" for none. */
  readonly event?: string;
  readonly eventPayload?: Uint8Array;
}

export interface VmCheck {
  readonly expected: VmMeasurement;
  /** No entry means that all four registers match. */
  readonly differences: readonly RegisterDifference[];
  /** Which form of the kernel `expected` holds. */
  readonly kernelHeader: "patched" | "as in the file";
}

const COVERS = {
  MRTD: "the firmware or the way its pages were added (qemu_single_pass_add_pages, qemu_version)",
  RTMR0: "the virtual hardware: memory size, CPUs, devices, QEMU version",
  RTMR1: "the kernel file, the initrd's size or the memory size",
  RTMR2: "the kernel command line (with the root hash) or the initrd",
} as const;

/** Other CPU counts that are tried on an ACPI digest that does not fit. */
const MAX_TRIED_CPUS = 32;

/**
 * Registers of a verified quote against those of an image's files. Where the VM's QEMU may leave
 * the kernel as it is in the file, RTMR1 of that is right too: it is the same kernel.
 *
 * @param log the guest's event log, only used for hints: it is not trusted
 * @throws MeasureError as `measureVm`
 */
export function checkVm(files: VmFiles, config: VmConfig, got: Registers, log: readonly LoggedEvent[] = []): VmCheck {
  const patched = measureVm(files, config);
  const differences = compareMeasurements(patched, got, log, config);
  const kernelMayBePlain = qemuDefaults(config.qemuVersion).mayLeaveKernel;
  if (kernelMayBePlain && differences.some(({ register }) => register === "RTMR1")) {
    const imr1 = rtmr1Events(sha384(...authenticodeParts(files.kernel)), files.kernel.length);
    const rtmr1 = replayRtmr(imr1);
    if (equalBytes(rtmr1, got.rtmr1)) {
      const expected = { ...patched, rtmr1, events: { ...patched.events, imr1 } };
      return {
        expected,
        differences: differences.filter(({ register }) => register !== "RTMR1"),
        kernelHeader: "as in the file",
      };
    }
  }
  return { expected: patched, differences, kernelHeader: "patched" };
}

/**
 * Registers of a verified quote against the expected ones; no entry means all four match.
 *
 * @param log the guest's event log, only used for hints: it is not trusted
 * @param config the VM configuration of the measurement, for a hint on the CPU count
 */
export function compareMeasurements(
  expected: VmMeasurement,
  got: Registers,
  log: readonly LoggedEvent[] = [],
  config?: VmConfig,
): readonly RegisterDifference[] {
  const registers = [
    ["MRTD", expected.mrtd, got.mrtd, []],
    ["RTMR0", expected.rtmr0, got.rtmr0, expected.events.imr0],
    ["RTMR1", expected.rtmr1, got.rtmr1, expected.events.imr1],
    ["RTMR2", expected.rtmr2, got.rtmr2, expected.events.imr2],
  ] as const;
  return registers
    .filter(([, want, have]) => !equalBytes(want, have))
    .map(([register, want, have, events]) => ({
      register,
      expected: toHex(want),
      got: toHex(have),
      hint: hintFor(register, events, log, config),
    }));
}

function hintFor(
  register: RegisterDifference["register"],
  events: readonly TcgEvent[],
  log: readonly LoggedEvent[],
  config: VmConfig | undefined,
): string {
  const covers = `${register} covers ${COVERS[register]}`;
  const imr = events[0]?.imr;
  const logged = log.filter((event) => event.imr === imr && event.digest.length === 48);
  if (imr === undefined || logged.length === 0) return covers;
  const at = events.findIndex((event, i) => {
    const other = logged[i];
    return other === undefined || !equalBytes(event.digest, other.digest);
  });
  const event = events[at];
  if (event === undefined) {
    if (logged.length > events.length) return `${covers}; the log has more events than expected`;
    return `${covers}; the log agrees with the expected events, so it does not belong to this quote`;
  }
  const fit = logged[at] && cpuCountHint(event, logged[at], config);
  return `${register} differs first at event ${at + 1} of ${events.length} (${event.label})${fit ?? ""}; ${covers}`;
}

/** The CPU count is the commonest difference, and its tables can be made again for other counts. */
function cpuCountHint(event: TcgEvent, logged: LoggedEvent, config: VmConfig | undefined): string | undefined {
  if (config === undefined || event.eventType !== eventType.platformConfigFlags) return undefined;
  for (let cpuCount = 1; cpuCount <= MAX_TRIED_CPUS; cpuCount++) {
    if (cpuCount === config.cpuCount) continue;
    const { loader, rsdp, tables } = acpiTables(machineOf({ ...config, cpuCount }));
    if ([loader, rsdp, tables].some((blob) => equalBytes(sha384(blob), logged.digest))) {
      return `: expected ${config.cpuCount} CPUs, the log fits ${cpuCount}`;
    }
  }
  return undefined;
}
