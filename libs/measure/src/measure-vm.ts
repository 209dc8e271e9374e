import type { Hash48 } from "@dstack/bytes";
import { acpiTables } from "./acpi/acpi-tables.ts";
import { rtmr0Events, rtmr1Events, rtmr2Events } from "./boot-events.ts";
import { MeasureError } from "./errors.ts";
import { patchKernelHeader } from "./kernel-header.ts";
import { machineOf } from "./machine.ts";
import { mrtd } from "./mrtd.ts";
import { qemuDefaults } from "./qemu-profile.ts";
import { replayRtmr } from "./rtmr.ts";
import type { TcgEvent } from "./rtmr.ts";
import { tdHob, tdHobLayout } from "./td-hob.ts";
import { onlySection, parseTdvf, sectionType } from "./tdvf.ts";
import type { VmConfig } from "./vm-config.ts";

/** The files of a guest image that are measured, as the VMM hands them to QEMU. */
export interface VmFiles {
  readonly firmware: Uint8Array;
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  /** As in metadata.json and `-append`, without anything added. */
  readonly cmdline: string;
}

/** The events of each register, in the order in which they extend it. */
export interface BootEvents {
  readonly imr0: readonly TcgEvent[];
  readonly imr1: readonly TcgEvent[];
  readonly imr2: readonly TcgEvent[];
}

export interface Registers {
  readonly mrtd: Hash48;
  readonly rtmr0: Hash48;
  readonly rtmr1: Hash48;
  readonly rtmr2: Hash48;
}

export interface VmMeasurement extends Registers {
  readonly events: BootEvents;
}

/**
 * What a TDX quote of this VM must show in MRTD and RTMR0 to RTMR2.
 *
 * The kernel is hashed with QEMU's header patches also for QEMU 10 and newer, as every
 * released verifier does.
 *
 * @throws MeasureError `firmware-invalid`, `kernel-invalid`, `vm-config-invalid`, `unsupported`
 */
export function measureVm(files: VmFiles, config: VmConfig): VmMeasurement {
  const variant = config.ovmfVariant ?? "pre202505";
  if (variant !== "pre202505") {
    throw new MeasureError("unsupported", `ovmf_variant: expected pre202505, got ${JSON.stringify(variant.slice(0, 40))}`);
  }
  const machine = machineOf(config);
  const sections = parseTdvf(files.firmware);
  const layout = tdHobLayout(sections);
  const events: BootEvents = {
    imr0: rtmr0Events(
      files.firmware,
      onlySection(sections, sectionType.configuration, "configuration volume"),
      tdHob(layout, config.memoryBytes),
      layout.hobAddress,
      acpiTables(machine),
    ),
    imr1: rtmr1Events(patchKernelHeader(files.kernel, files.initrd.length, config.memoryBytes)),
    imr2: rtmr2Events(files.cmdline, files.initrd),
  };
  const pass = config.twoPassAddPages === undefined
    ? qemuDefaults(config.qemuVersion).mrtdPass
    : config.twoPassAddPages ? "two" : "single";
  return {
    mrtd: mrtd(files.firmware, sections, pass),
    rtmr0: replayRtmr(events.imr0),
    rtmr1: replayRtmr(events.imr1),
    rtmr2: replayRtmr(events.imr2),
    events,
  };
}
