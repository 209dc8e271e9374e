/**
 * The TDVF metadata of a firmware image (Intel TDX Virtual Firmware Design Guide, chapter 11):
 * a table of GUID-tagged entries that ends 32 bytes before the end of the file points to a
 * descriptor, which lists the sections that the VMM puts into the guest's first memory.
 *
 *   entry       data, u16 length of the whole entry, GUID        (read backwards)
 *   descriptor  "TDVF", u32 length, u32 version = 1, u32 number of sections
 *   section     u32 data offset, u32 raw size, u64 address, u64 memory size, u32 type, u32 attributes
 */
import { equalBytes, readU16LE, readU32LE, readU64LE, utf8 } from "@dstack/bytes";
import { MeasureError } from "./errors.ts";
import { guidBytes } from "./guid.ts";

export const sectionType = { bootFirmware: 0, configuration: 1, tdHob: 2, temporaryMemory: 3 } as const;

export interface TdvfSection {
  readonly dataOffset: number;
  readonly rawBytes: number;
  /** Guest physical address, a multiple of 4096. */
  readonly address: number;
  /** A multiple of 4096, at least `rawBytes`. */
  readonly memoryBytes: number;
  /** See `sectionType`; other types exist and are only placed. */
  readonly type: number;
  /** The contents are measured into MRTD. */
  readonly extend: boolean;
  /** Memory is added after the measurement. */
  readonly augmented: boolean;
}

export const PAGE_BYTES = 4096;
const TABLE_FOOTER = guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d");
const TDVF_ENTRY = guidBytes("e47a6535-984a-4798-865e-4685a7bf8ec2");
const BYTES_AFTER_TABLE = 32;
/** u16 length and GUID. */
const ENTRY_TAIL = 18;
const DESCRIPTOR_BYTES = 16;
const SECTION_BYTES = 32;
const MAX_FIRMWARE_BYTES = 64 * 2 ** 20;
const MAX_SECTIONS = 64;
/** What the sections may add up to: 512 MiB, far over any firmware, so that hashing has a bound. */
const MAX_MEMORY_BYTES = 2 ** 29;
const MR_EXTEND = 1;
const PAGE_AUG = 2;

/** @throws MeasureError `firmware-invalid` naming the rule that the file breaks */
export function parseTdvf(firmware: Uint8Array): readonly TdvfSection[] {
  check(firmware.length <= MAX_FIRMWARE_BYTES, `at most ${MAX_FIRMWARE_BYTES} bytes`, `${firmware.length}`);
  const descriptor = descriptorOffset(firmware);
  check(
    equalBytes(firmware.subarray(descriptor, descriptor + 4), utf8("TDVF")),
    "TDVF descriptor signature",
    "other bytes",
  );
  const length = readU32LE(firmware, descriptor + 4);
  const version = readU32LE(firmware, descriptor + 8);
  const count = readU32LE(firmware, descriptor + 12);
  check(version === 1, "TDVF descriptor version 1", `${version}`);
  check(count > 0 && count <= MAX_SECTIONS, `1 to ${MAX_SECTIONS} TDVF sections`, `${count}`);
  const end = descriptor + DESCRIPTOR_BYTES + count * SECTION_BYTES;
  check(length === end - descriptor, `a TDVF descriptor of ${end - descriptor} bytes`, `${length}`);
  check(end <= firmware.length, "TDVF sections inside the file", `end ${end} of ${firmware.length}`);

  const sections = Array.from({ length: count }, (_, i) =>
    readSection(firmware, descriptor + DESCRIPTOR_BYTES + i * SECTION_BYTES),
  );
  const total = sections.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  check(total <= MAX_MEMORY_BYTES, `TDVF sections of at most ${MAX_MEMORY_BYTES} bytes`, `${total}`);
  return sections;
}

/** The bytes of a section as the file has them, without the zeros that fill its memory. */
export const sectionData = (firmware: Uint8Array, section: TdvfSection): Uint8Array =>
  firmware.subarray(section.dataOffset, section.dataOffset + section.rawBytes);

/** @throws MeasureError `firmware-invalid` unless exactly one section has the type */
export function onlySection(sections: readonly TdvfSection[], type: number, what: string): TdvfSection {
  const [found, ...more] = sections.filter((section) => section.type === type);
  check(found !== undefined && more.length === 0, `exactly one ${what} section`, found ? `${1 + more.length}` : "none");
  return found;
}

function descriptorOffset(firmware: Uint8Array): number {
  const tableEnd = firmware.length - BYTES_AFTER_TABLE - ENTRY_TAIL;
  check(tableEnd >= 0, "a table of GUIDed entries", `a file of ${firmware.length} bytes`);
  check(
    equalBytes(firmware.subarray(tableEnd + 2, tableEnd + ENTRY_TAIL), TABLE_FOOTER),
    "the footer of a table of GUIDed entries 48 bytes before the end",
    "other bytes",
  );
  const tableLength = readU16LE(firmware, tableEnd);
  check(tableLength > 0 && tableLength <= tableEnd, `a table of 1 to ${tableEnd} bytes`, `${tableLength}`);
  const table = firmware.subarray(tableEnd - tableLength, tableEnd);

  for (let end = table.length; end >= ENTRY_TAIL;) {
    const length = readU16LE(table, end - ENTRY_TAIL);
    check(length >= ENTRY_TAIL && length <= end, `a table entry of ${ENTRY_TAIL} to ${end} bytes`, `${length}`);
    if (equalBytes(table.subarray(end - 16, end), TDVF_ENTRY)) {
      check(length >= ENTRY_TAIL + 4, "a TDVF entry with an offset", `${length} bytes`);
      const distance = readU32LE(table, end - ENTRY_TAIL - 4);
      check(
        distance >= DESCRIPTOR_BYTES && distance <= firmware.length,
        `a TDVF descriptor within the file's last ${firmware.length} bytes`,
        `${distance}`,
      );
      return firmware.length - distance;
    }
    end -= length;
  }
  throw new MeasureError(
    "firmware-invalid",
    "firmware: expected TDVF metadata, found none; use a firmware built with TDX support",
  );
}

function readSection(firmware: Uint8Array, at: number): TdvfSection {
  const dataOffset = readU32LE(firmware, at);
  const rawBytes = readU32LE(firmware, at + 4);
  const address = readU64LE(firmware, at + 8);
  const memoryBytes = readU64LE(firmware, at + 16);
  const attributes = readU32LE(firmware, at + 28);
  check(
    address % 4096n === 0n && memoryBytes % 4096n === 0n,
    "section address and size in pages",
    `${address}, ${memoryBytes}`,
  );
  check(
    address < 1n << 46n && memoryBytes <= BigInt(MAX_MEMORY_BYTES),
    "a section in memory",
    `${address}, ${memoryBytes}`,
  );
  check(memoryBytes >= BigInt(rawBytes), "section memory not below its data", `${memoryBytes} < ${rawBytes}`);
  check(
    dataOffset + rawBytes <= firmware.length,
    "section data inside the file",
    `end ${dataOffset + rawBytes} of ${firmware.length}`,
  );
  return {
    dataOffset,
    rawBytes,
    address: Number(address),
    memoryBytes: Number(memoryBytes),
    type: readU32LE(firmware, at + 24),
    extend: (attributes & MR_EXTEND) !== 0,
    augmented: (attributes & PAGE_AUG) !== 0,
  };
}

function check(holds: boolean, expected: string, got: string): asserts holds {
  if (!holds) throw new MeasureError("firmware-invalid", `firmware: expected ${expected}, got ${got}`);
}
