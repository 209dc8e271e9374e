/** The MADT ("APIC"): interrupt controllers and CPUs. */
import { concatBytes, u16le, u32le } from "@dstack/bytes";
import type { Machine } from "../machine.ts";
import type { AcpiProfile } from "../qemu-profile.ts";

const LOCAL_APIC_ADDRESS = 0xfee0_0000;
const IO_APIC_ADDRESS = 0xfec0_0000;
/** Ids from here on do not fit the one-byte local APIC entry. */
const FIRST_X2APIC_ID = 255;
/** Active high, edge. */
const ISA_EDGE = 5;
/** Active high, level. */
const PCI_LEVEL = 13;

/** The table's body, without its header. */
export function madtBody(machine: Machine): Uint8Array {
  const cpus = Array.from({ length: machine.cpuCount }, (_, i) => madtCpu(i));
  return concatBytes(
    u32le(LOCAL_APIC_ADDRESS),
    u32le(machine.pic ? 1 : 0),
    ...cpus,
    Uint8Array.of(0x01, 0x0c, 0, 0),
    u32le(IO_APIC_ADDRESS),
    u32le(0),
    ...overrides(machine.acpi),
    nonMaskable(machine.cpuCount),
  );
}

/** One CPU's entry; the DSDT carries the same bytes in `_MAT`. Its fields: id, enabled flag. */
export function madtCpu(id: number): Uint8Array {
  if (id < FIRST_X2APIC_ID) return concatBytes(Uint8Array.of(0x00, 0x08, id, id), u32le(1));
  return concatBytes(Uint8Array.of(0x09, 0x10, 0, 0), u32le(id), u32le(1), u32le(id));
}

/** ISA lines whose number, polarity or trigger the I/O APIC sees differently. */
function overrides(profile: AcpiProfile): Uint8Array[] {
  const override = (line: number, gsi: number, flags: number): Uint8Array =>
    concatBytes(Uint8Array.of(0x02, 0x0a, 0, line), u32le(gsi), u16le(flags));
  if (profile.levelTriggeredLinks) {
    return [override(0, 2, 0), ...[5, 9, 10, 11].map((line) => override(line, line, PCI_LEVEL))];
  }
  return Array.from({ length: 16 }, (_, line) => override(line, line === 0 ? 2 : line, ISA_EDGE));
}

/** LINT1 of every CPU is the non-maskable interrupt. */
function nonMaskable(cpuCount: number): Uint8Array {
  if (cpuCount <= FIRST_X2APIC_ID) return Uint8Array.of(0x04, 0x06, 0xff, 0, 0, 1);
  return concatBytes(Uint8Array.of(0x0a, 0x0c, 0, 0), u32le(0xffff_ffff), Uint8Array.of(1, 0, 0, 0));
}
