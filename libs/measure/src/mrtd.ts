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
const CHUNK_BYTES = 256;
const CHUNKS_PER_PAGE = PAGE_BYTES / CHUNK_BYTES;
const STEP = RECORD_BYTES + CHUNK_BYTES;

export function mrtd(firmware: Uint8Array, sections: readonly TdvfSection[], pass: MrtdPass): Hash48 {
  const stream = sha384Stream();
  const add = record("MEM.PAGE.ADD");
  const extend = pageOfExtends();

  const addPage = (address: number): void => {
    add.setBigUint64(16, BigInt(address), true);
    stream.update(bytesOf(add));
  };
  const extendPage = (section: TdvfSection, page: number): void => {
    const data = sectionData(firmware, section);
    extend.fill(data, page * PAGE_BYTES, section.address + page * PAGE_BYTES);
    stream.update(extend.bytes);
  };

  for (const section of sections) {
    const pages = section.memoryBytes / PAGE_BYTES;
    for (let page = 0; page < pages; page++) {
      if (!section.augmented) addPage(section.address + page * PAGE_BYTES);
      if (section.extend && pass === "single") extendPage(section, page);
    }
    if (section.extend && pass === "two") {
      for (let page = 0; page < pages; page++) extendPage(section, page);
    }
  }
  return stream.digest();
}

function record(name: string): DataView {
  const bytes = new Uint8Array(RECORD_BYTES);
  bytes.set(utf8(name));
  return new DataView(bytes.buffer);
}

const bytesOf = (view: DataView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** The 16 extend records of one page with their data, in one buffer that is filled anew for each page. */
function pageOfExtends(): { bytes: Uint8Array; fill(data: Uint8Array, offset: number, address: number): void } {
  const bytes = new Uint8Array(CHUNKS_PER_PAGE * STEP);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < CHUNKS_PER_PAGE; i++) bytes.set(utf8("MR.EXTEND"), i * STEP);
  return {
    bytes,
    fill(data, offset, address) {
      for (let i = 0; i < CHUNKS_PER_PAGE; i++) {
        const at = i * STEP;
        view.setBigUint64(at + 16, BigInt(address + i * CHUNK_BYTES), true);
        const chunk = data.subarray(offset + i * CHUNK_BYTES, offset + (i + 1) * CHUNK_BYTES);
        bytes.set(chunk, at + RECORD_BYTES);
        bytes.fill(0, at + RECORD_BYTES + chunk.length, at + STEP);
      }
    },
  };
}
