/**
 * MRTD: the TDX module's SHA-384 over 128-byte records of how the VMM built the guest's
 * first memory (Intel TDX Module Base Specification, "TD Measurement").
 *
 *   "MEM.PAGE.ADD"  GPA u64 at 16                       each page
 *   "MR.EXTEND"     GPA u64 at 16, then 256 data bytes  each quarter of a KiB of measured pages
 */
import type { Hash48 } from "@dstack/bytes";
import { utf8 } from "@dstack/bytes";
import { sha384Stream } from "./sha.ts";
import { PAGE_BYTES, sectionData } from "./tdvf.ts";
import type { TdvfSection } from "./tdvf.ts";

/** Whether the VMM extends each page as it adds it, or all pages of a section after adding them. */
export type MrtdPass = "single" | "two";

const RECORD_BYTES = 128;
const ADDRESS_OFFSET = 16;
const CHUNK_BYTES = 256;
const CHUNKS_PER_PAGE = PAGE_BYTES / CHUNK_BYTES;
const STEP = RECORD_BYTES + CHUNK_BYTES;

export function mrtd(firmware: Uint8Array, sections: readonly TdvfSection[], pass: MrtdPass): Hash48 {
  const stream = sha384Stream();
  const add = record("MEM.PAGE.ADD");
  const extend = pageOfExtends();
  for (const section of sections) {
    const data = sectionData(firmware, section);
    const { address, memoryBytes } = section;
    const extendPage = (offset: number): void =>
      stream.update(extend(data.subarray(offset, offset + PAGE_BYTES), address + offset));
    for (let offset = 0; offset < memoryBytes; offset += PAGE_BYTES) {
      if (!section.augmented) stream.update(add(address + offset));
      if (section.extend && pass === "single") extendPage(offset);
    }
    if (section.extend && pass === "two") {
      for (let offset = 0; offset < memoryBytes; offset += PAGE_BYTES) extendPage(offset);
    }
  }
  return stream.digest();
}

/** A record with its address written in; the same buffer each time. */
function record(name: string): (address: number) => Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(utf8(name));
  return (address) => {
    setAddress(view, ADDRESS_OFFSET, address);
    return bytes;
  };
}

/** The 16 extend records of one page, each with its data; what the data lacks is zeros. The same buffer each time. */
function pageOfExtends(): (data: Uint8Array, address: number) => Uint8Array {
  const bytes = new Uint8Array(CHUNKS_PER_PAGE * STEP);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < CHUNKS_PER_PAGE; i++) bytes.set(utf8("MR.EXTEND"), i * STEP);
  return (data, address) => {
    for (let i = 0; i < CHUNKS_PER_PAGE; i++) {
      const at = i * STEP;
      setAddress(view, at + ADDRESS_OFFSET, address + i * CHUNK_BYTES);
      const chunk = data.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
      bytes.set(chunk, at + RECORD_BYTES);
      if (chunk.length < CHUNK_BYTES) bytes.fill(0, at + RECORD_BYTES + chunk.length, at + STEP);
    }
    return bytes;
  };
}

/** u64 in two halves, because a bigint for each record would cost as much as its hash. */
function setAddress(view: DataView, offset: number, address: number): void {
  view.setUint32(offset, address % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(address / 2 ** 32), true);
}
