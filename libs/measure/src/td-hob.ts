/**
 * The TD HOB: the list of memory ranges that QEMU hands to the firmware (UEFI Platform
 * Initialization, volume 3). Firmware measures it as its first event.
 *
 *   handoff   u16 1, u16 56, u32 0, u32 9, u32 0, 4 * u64 0, u64 address of the list's end
 *   resource  u16 3, u16 48, u32 0, 16 zero bytes, u32 type, u32 attributes 7, u64 start, u64 length
 */
import { concatBytes, u16le, u32le, u64le } from "@dstack/bytes";
import { MeasureError } from "./errors.ts";
import { SPLIT_MEMORY_BYTES, lowMemoryBytes } from "./machine.ts";
import { PAGE_BYTES, onlySection, sectionType } from "./tdvf.ts";
import type { TdvfSection } from "./tdvf.ts";

interface Range {
  readonly start: number;
  readonly end: number;
}

/** What a TD HOB depends on beside the memory size. Addresses in bytes, multiples of 4096. */
export interface TdHobLayout {
  readonly hobAddress: number;
  /** Memory that the guest gets accepted: ascending, disjoint. */
  readonly accepted: readonly Range[];
}

const ACCEPTED = 0;
const UNACCEPTED = 7;
const ATTRIBUTES = 7;
const HANDOFF_BYTES = 56;
const RESOURCE_BYTES = 48;
const END_ENTRY_BYTES = 8;
const FOUR_GIB = 0x1_0000_0000;
const MAX_RANGES = 64;

/** @throws MeasureError `firmware-invalid` on overlapping sections or without one TD HOB section */
export function tdHobLayout(sections: readonly TdvfSection[]): TdHobLayout {
  const hob = onlySection(sections, sectionType.tdHob, "TD HOB");
  const accepted = sections
    .filter(({ type }) => type === sectionType.tdHob || type === sectionType.temporaryMemory)
    .map(({ address, memoryBytes }) => ({ start: address, end: address + memoryBytes }))
    .sort((a, b) => a.start - b.start);
  return checkedLayout({ hobAddress: hob.address, accepted });
}

/**
 * The HOB's bytes as they are measured.
 * @throws MeasureError `unsupported` when the firmware's own ranges do not fit into memory
 */
export function tdHob(layout: TdHobLayout, memoryBytes: number): Uint8Array {
  const lastAccepted = layout.accepted.at(-1)?.end ?? 0;
  // The part above the firmware's ranges is the one that is split at the PCI hole.
  if (lastAccepted >= lowMemoryBytes(memoryBytes)) {
    throw new MeasureError(
      "unsupported",
      `memory_size: expected more than the ${lastAccepted} bytes that the firmware uses, got ${memoryBytes}`,
    );
  }
  const resources: Uint8Array[] = [];
  let free = 0;
  for (const { start, end } of layout.accepted) {
    if (start > free) resources.push(resource(UNACCEPTED, free, start));
    resources.push(resource(ACCEPTED, start, end));
    free = end;
  }
  resources.push(resource(UNACCEPTED, free, lowMemoryBytes(memoryBytes)));
  if (memoryBytes >= SPLIT_MEMORY_BYTES) {
    resources.push(resource(UNACCEPTED, FOUR_GIB, FOUR_GIB + memoryBytes - lowMemoryBytes(memoryBytes)));
  }
  const length = HANDOFF_BYTES + resources.length * RESOURCE_BYTES;
  return concatBytes(
    u16le(1),
    u16le(HANDOFF_BYTES),
    u32le(0),
    u32le(9),
    new Uint8Array(36),
    u64le(BigInt(layout.hobAddress + length + END_ENTRY_BYTES)),
    ...resources,
  );
}

/**
 * The layout as measurement.tdx.cbor carries it: unsigned LEB128 numbers in pages. Base;
 * HOB minus base; number of ranges; for each range its start minus base and its length.
 */
export function encodeTdHobWitness(layout: TdHobLayout): Uint8Array {
  const base = Math.min(layout.hobAddress, ...layout.accepted.map(({ start }) => start)) / PAGE_BYTES;
  const numbers = [base, layout.hobAddress / PAGE_BYTES - base, layout.accepted.length];
  for (const { start, end } of layout.accepted) numbers.push(start / PAGE_BYTES - base, (end - start) / PAGE_BYTES);
  return Uint8Array.from(numbers.flatMap(leb128));
}

/** @throws MeasureError `measurement-document-invalid` on a long form, trailing bytes or ranges out of order */
export function decodeTdHobWitness(witness: Uint8Array): TdHobLayout {
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = witness[at++];
      if (byte === undefined) throw invalidWitness("more bytes", "the end");
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        if (byte === 0 && shift > 0) throw invalidWitness("the shortest form of a number", "a trailing zero group");
        return value;
      }
    }
    throw invalidWitness("numbers of at most 35 bits", "a longer one");
  };
  const base = next();
  const hobAddress = (base + next()) * PAGE_BYTES;
  const count = next();
  if (count > MAX_RANGES) throw invalidWitness(`at most ${MAX_RANGES} ranges`, `${count}`);
  const accepted: Range[] = [];
  for (let i = 0; i < count; i++) {
    const start = (base + next()) * PAGE_BYTES;
    accepted.push({ start, end: start + next() * PAGE_BYTES });
  }
  if (at !== witness.length) throw invalidWitness("no trailing bytes", `${witness.length - at}`);
  return checkedLayout({ hobAddress, accepted }, "measurement-document-invalid");
}

function checkedLayout(
  layout: TdHobLayout,
  code: "firmware-invalid" | "measurement-document-invalid" = "firmware-invalid",
): TdHobLayout {
  let free = 0;
  for (const { start, end } of layout.accepted) {
    if (start < free || end <= start) {
      throw new MeasureError(
        code,
        `TD HOB: expected ascending ranges that do not overlap, got ${start} to ${end} after ${free}`,
      );
    }
    free = end;
  }
  return layout;
}

function resource(type: number, start: number, end: number): Uint8Array {
  return concatBytes(
    u16le(3),
    u16le(RESOURCE_BYTES),
    u32le(0),
    new Uint8Array(16),
    u32le(type),
    u32le(ATTRIBUTES),
    u64le(BigInt(start)),
    u64le(BigInt(end - start)),
  );
}

function leb128(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) out.push((rest % 0x80) | 0x80);
  out.push(rest);
  return out;
}

const invalidWitness = (expected: string, got: string): MeasureError =>
  new MeasureError("measurement-document-invalid", `td_hob: expected ${expected}, got ${got}`);
