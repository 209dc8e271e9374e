/** The virtual machine as its ACPI tables see it: CPUs, memory map, and which PCI slot holds what. */
import { MeasureError } from "./errors.ts";
import { qemuDefaults } from "./qemu-profile.ts";
import type { AcpiProfile } from "./qemu-profile.ts";
import type { VmConfig } from "./vm-config.ts";

/** A second root bus for the GPUs of one NUMA node. */
export interface PciExpander {
  readonly slot: number;
  readonly bus: number;
  readonly node: number;
}

/** What a VM configuration does not say, because no confidential VM of dstack has it otherwise. */
export interface HardwareOptions {
  /** The verity disk of the root file system. True unless given. */
  readonly rootVerity?: boolean;
  /** System management mode. False unless given: TDX has none. */
  readonly smm?: boolean;
}

export interface Machine {
  readonly acpi: AcpiProfile;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly pic: boolean;
  readonly smm: boolean;
  readonly numaNodes: 0 | 1;
  /** Slots 0 to this minus one hold the host bridge, disks, NICs, vsock and share. */
  readonly deviceSlots: number;
  readonly expanders: readonly PciExpander[];
  readonly rootPortSlots: readonly number[];
  readonly hotplug: boolean;
  /** 0: the default window. */
  readonly pciHole64Bytes: number;
}

/** From this size on QEMU moves the part of memory above 2 GiB to 4 GiB. */
export const SPLIT_MEMORY_BYTES = 0xb000_0000;
const LOW_MEMORY_OF_SPLIT = 0x8000_0000;

const MAX_CPUS = 4096;
const MAX_MEMORY_BYTES = 2 ** 46;
const MAX_PCI_HOLE64_BYTES = 2 ** 46;
const EXPANDER = { slot: 0x10, bus: 5, node: 0 } as const;
const MAX_GPUS_PER_EXPANDER = 32;
/** Slot 0x1f is the chipset. */
const FIRST_CHIPSET_SLOT = 0x1f;
/** Host bridge, data disk, vsock, host share. */
const FIXED_SLOTS = 4;

/** Bytes of memory below the PCI window. */
export const lowMemoryBytes = (memoryBytes: number): number =>
  memoryBytes < SPLIT_MEMORY_BYTES ? memoryBytes : LOW_MEMORY_OF_SPLIT;

/**
 * @throws MeasureError `vm-config-invalid` on sizes that no machine has, `unsupported` on
 *   machines whose tables are not modelled
 */
export function machineOf(config: VmConfig, { rootVerity = true, smm = false }: HardwareOptions = {}): Machine {
  between("cpu_count", config.cpuCount, 1, MAX_CPUS);
  between("memory_size", config.memoryBytes, 0x10_0000, MAX_MEMORY_BYTES);
  between("pci_hole64_size", config.pciHole64Bytes, 0, MAX_PCI_HOLE64_BYTES);
  const defaults = qemuDefaults(config.qemuVersion);
  if (config.swtpm) throw new MeasureError("unsupported", "swtpm: a machine with a software TPM cannot be measured");

  const numaNodes = config.hugepages ? 1 : 0;
  const expanders = numaNodes === 1 && config.numGpus > 0 ? [EXPANDER] : [];
  const deviceSlots = FIXED_SLOTS + (rootVerity ? 1 : 0) + config.numNics + config.numVerityVolumes;
  const rootPorts = config.numNvswitches + (expanders.length > 0 ? 0 : config.numGpus);
  if (expanders.length > 0) {
    between("devices before the PCI expander", deviceSlots, FIXED_SLOTS, EXPANDER.slot);
    between("num_gpus behind the PCI expander", config.numGpus, 1, MAX_GPUS_PER_EXPANDER);
  }
  between("PCI slots in use", deviceSlots + rootPorts + expanders.length, FIXED_SLOTS, FIRST_CHIPSET_SLOT);
  if (rootPorts > 0 && !config.hotplugOff) {
    throw new MeasureError(
      "unsupported",
      `num_gpus + num_nvswitches: ${rootPorts} root ports with PCI hotplug cannot be measured; set hotplug_off`,
    );
  }
  return {
    acpi: defaults.acpi,
    cpuCount: config.cpuCount,
    memoryBytes: config.memoryBytes,
    pic: config.pic ?? defaults.pic,
    smm,
    numaNodes,
    deviceSlots,
    expanders,
    rootPortSlots: slotsAfter(deviceSlots, rootPorts, new Set(expanders.map(({ slot }) => slot))),
    hotplug: !config.hotplugOff,
    pciHole64Bytes: config.pciHole64Bytes,
  };
}

function slotsAfter(first: number, count: number, taken: ReadonlySet<number>): number[] {
  const slots: number[] = [];
  for (let slot = first; slots.length < count; slot++) if (!taken.has(slot)) slots.push(slot);
  return slots;
}

function between(what: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw new MeasureError("vm-config-invalid", `${what}: expected ${min} to ${max}, got ${value}`);
  }
}
