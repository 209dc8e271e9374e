import type { Hash48 } from "@dstack/bytes";
import { acpiTables } from "./acpi/acpi-tables.ts";
import type { AcpiTables } from "./acpi/acpi-tables.ts";
import { authenticodeParts } from "./authenticode.ts";
import { loadOptions, rtmr1Events, rtmr2Events } from "./boot-events.ts";
import { firmwareEvents, ovmfVariant } from "./firmware-events.ts";
import type { AcpiDigests } from "./firmware-events.ts";
import { patchedKernelHead } from "./kernel-header.ts";
import { machineOf } from "./machine.ts";
import type { HardwareOptions } from "./machine.ts";
import { mrtd } from "./mrtd.ts";
import type { MrtdPass } from "./mrtd.ts";
import { qemuDefaults } from "./qemu-profile.ts";
import { replayRtmr } from "./rtmr.ts";
import type { TcgEvent } from "./rtmr.ts";
import { sha384 } from "./sha.ts";
import { tdHob, tdHobLayout } from "./td-hob.ts";
import { onlySection, parseTdvf, sectionData, sectionType } from "./tdvf.ts";
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

export interface MeasureOptions extends HardwareOptions {
  /**
   * Whether QEMU wrote its load addresses into the kernel. It always did before QEMU 10; from
   * then on it leaves the kernels of confidential guests as they are. Patched unless given, as
   * every released verifier has it.
   */
  readonly kernelHeader?: "patched" | "as in the file";
}

/**
 * What a TDX quote of this VM must show in MRTD and RTMR0 to RTMR2.
 *
 * @throws MeasureError `firmware-invalid`, `kernel-invalid`, `vm-config-invalid`, `unsupported`
 */
export function measureVm(files: VmFiles, config: VmConfig, options: MeasureOptions = {}): VmMeasurement {
  const variant = ovmfVariant(config.ovmfVariant);
  const machine = machineOf(config, options);
  const sections = parseTdvf(files.firmware);
  const layout = tdHobLayout(sections);
  const configuration = onlySection(sections, sectionType.configuration, "configuration volume");
  const head =
    options.kernelHeader === "as in the file"
      ? files.kernel
      : patchedKernelHead(files.kernel, files.initrd.length, config.memoryBytes);
  const imr0 = firmwareEvents(variant, {
    hobDigest: sha384(tdHob(layout, config.memoryBytes)),
    hobAddress: layout.hobAddress,
    configuration: {
      digest: sha384(sectionData(files.firmware, configuration)),
      address: configuration.address,
      rawBytes: configuration.rawBytes,
    },
    acpi: acpiDigests(acpiTables(machine)),
  });
  const imr1 = rtmr1Events(sha384(...authenticodeParts(files.kernel, head)), files.kernel.length);
  const imr2 = rtmr2Events(sha384(loadOptions(files.cmdline)), sha384(files.initrd));
  return measurementOf(mrtd(files.firmware, sections, mrtdPass(config)), { imr0, imr1, imr2 });
}

/** The registers that these events make. */
export function measurementOf(mrtdValue: Hash48, events: BootEvents): VmMeasurement {
  return {
    mrtd: mrtdValue,
    rtmr0: replayRtmr(events.imr0),
    rtmr1: replayRtmr(events.imr1),
    rtmr2: replayRtmr(events.imr2),
    events,
  };
}

/** How the VMM added the firmware's pages, as the VM configuration says or its QEMU does unless told. */
export function mrtdPass({ twoPassAddPages, qemuVersion }: VmConfig): MrtdPass {
  if (twoPassAddPages === undefined) return qemuDefaults(qemuVersion).mrtdPass;
  return twoPassAddPages ? "two" : "single";
}

export const acpiDigests = ({ loader, rsdp, tables }: AcpiTables): AcpiDigests => ({
  loader: sha384(loader),
  rsdp: sha384(rsdp),
  tables: sha384(tables),
});
