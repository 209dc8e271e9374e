/** ACPI tables other than DSDT and MADT (ACPI 6.5, chapter 5), as QEMU's q35 machine fills them. */
import { concatBytes, u16le, u32le, u64le, utf8 } from "@dstack/bytes";
import type { Machine } from "../machine.ts";
import { lowMemoryBytes } from "../machine.ts";

const HEADER_LENGTH = 36;
/** Where the OS asks for ACPI mode (2) and gives it back (3); without SMM there is nothing to ask. */
const SMI_COMMAND_PORT = 0xb2;
/** QEMU moves the upper part of memory over 1 TiB where it would meet a hole of AMD CPUs; TDX is Intel's. */
const FOUR_GIB = 0x1_0000_0000;

/** A table with its header. The checksum stays 0: firmware fills it in. */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  return concatBytes(
    utf8(signature),
    u32le(HEADER_LENGTH + body.length),
    Uint8Array.of(revision, 0),
    utf8("BOCHS "),
    utf8("BXPC    "),
    u32le(1),
    utf8("BXPC"),
    u32le(1),
    body,
  );
}

/** Firmware control structure: it has no common header. */
export function facs(): Uint8Array {
  const length = 64;
  return concatBytes(utf8("FACS"), u32le(length), new Uint8Array(length - 8));
}

/** @param dsdtOffset where the DSDT is in the blob */
export function fadt(machine: Machine, dsdtOffset: number): Uint8Array {
  const bytes = table("FACP", 3, new Uint8Array(244 - HEADER_LENGTH));
  const view = new DataView(bytes.buffer);
  const powerManagement = 0x600;
  view.setUint32(40, dsdtOffset, true);
  view.setUint8(44, 1);
  view.setUint16(46, 9, true);
  if (machine.smm) {
    view.setUint32(48, SMI_COMMAND_PORT, true);
    view.setUint8(52, 2);
    view.setUint8(53, 3);
  }
  view.setUint32(56, powerManagement, true);
  view.setUint32(64, powerManagement + 4, true);
  view.setUint32(76, powerManagement + 8, true);
  view.setUint32(80, powerManagement + 0x20, true);
  view.setUint8(88, 4);
  view.setUint8(89, 2);
  view.setUint8(91, 4);
  view.setUint8(92, 16);
  view.setUint16(96, 0xfff, true);
  view.setUint16(98, 0xfff, true);
  view.setUint8(108, 0x32);
  view.setUint16(109, 2, true);
  view.setUint32(112, 0x84a5 | (machine.cpuCount > 8 ? 0x4_0000 : 0), true);
  genericAddress(view, 116, 8, 0xcf9);
  view.setUint8(128, 0x0f);
  view.setBigUint64(140, BigInt(dsdtOffset), true);
  genericAddress(view, 148, 32, powerManagement);
  genericAddress(view, 172, 16, powerManagement + 4);
  genericAddress(view, 208, 32, powerManagement + 8);
  genericAddress(view, 220, 128, powerManagement + 0x20);
  return bytes;
}

function genericAddress(view: DataView, offset: number, bits: number, port: number): void {
  view.setUint8(offset, 1);
  view.setUint8(offset + 1, bits);
  view.setBigUint64(offset + 4, BigInt(port), true);
}

/** Which CPU and which memory belong to which NUMA node: here always node 0. */
export function srat(machine: Machine): Uint8Array {
  const cpus = Array.from({ length: machine.cpuCount }, (_, id) =>
    id < 255
      ? concatBytes(Uint8Array.of(0x00, 0x10, 0, id), u32le(1), u32le(0), u32le(0))
      : concatBytes(Uint8Array.of(0x02, 0x18), u16le(0), u32le(0), u32le(id), u32le(1), u32le(0), u32le(0)),
  );
  return table("SRAT", 1, concatBytes(u32le(1), u64le(0n), ...cpus, ...memoryAffinities(machine)));
}

function memoryAffinities(machine: Machine): readonly Uint8Array[] {
  const affinity = (base: number, length: number): Uint8Array =>
    concatBytes(
      Uint8Array.of(0x01, 0x28),
      u32le(0),
      u16le(0),
      u64le(BigInt(base)),
      u64le(BigInt(length)),
      u32le(0),
      u32le(length > 0 ? 1 : 0),
      u64le(0n),
    );
  const unused = affinity(0, 0);
  const low = lowMemoryBytes(machine.memoryBytes);
  const high = machine.memoryBytes - low;
  return [
    affinity(0, Math.min(low, 0xa_0000)),
    low > 0x10_0000 ? affinity(0x10_0000, low - 0x10_0000) : unused,
    high > 0 ? affinity(FOUR_GIB, high) : unused,
  ];
}

/** PCI Express configuration space of buses 0 to 255. */
export function mcfg(): Uint8Array {
  return table(
    "MCFG",
    1,
    concatBytes(new Uint8Array(8), u64le(0xe000_0000n), u16le(0), Uint8Array.of(0, 0xff), u32le(0)),
  );
}

/** The emulated clock and timer need no workarounds of real chips. */
export const waet = (): Uint8Array => table("WAET", 1, u32le(2));

/** @param offsets of the tables it lists, in the blob */
export const rsdt = (offsets: readonly number[]): Uint8Array => table("RSDT", 1, concatBytes(...offsets.map(u32le)));
