/**
 * The parts of a PE image that Authenticode hashes (Microsoft, "Windows Authenticode
 * Portable Executable Signature Format"): everything but the checksum, the entry of the
 * certificate table and the certificates.
 */
import { equalBytes, readU16LE, readU32LE, utf8 } from "@dstack/bytes";
import { MeasureError } from "./errors.ts";

const PE32 = 0x10b;
const PE32_PLUS = 0x20b;
const SECTION_HEADER_BYTES = 40;
const MAX_SECTIONS = 96;

/** @throws MeasureError `kernel-invalid` when the file is not a PE image or its headers point outside */
export function authenticodeParts(image: Uint8Array): readonly Uint8Array[] {
  const inside = (offset: number, length: number, what: string): void => {
    if (offset + length > image.length) throw invalid(`${what} inside the file`, `end ${offset + length} of ${image.length}`);
  };
  inside(0x3c, 4, "PE offset");
  const pe = readU32LE(image, 0x3c);
  inside(pe, 24, "PE header");
  if (!equalBytes(image.subarray(pe, pe + 4), utf8("PE\0\0"))) throw invalid("a PE image (a kernel with an EFI stub)", "other bytes");
  const sectionCount = readU16LE(image, pe + 6);
  if (sectionCount > MAX_SECTIONS) throw invalid(`at most ${MAX_SECTIONS} sections`, `${sectionCount}`);
  const optional = pe + 24;
  const optionalBytes = readU16LE(image, pe + 20);
  inside(optional, optionalBytes, "optional header");
  const magic = readU16LE(image, optional);
  if (magic !== PE32 && magic !== PE32_PLUS) throw invalid("a PE32 or PE32+ image", `magic ${magic}`);
  const certificateEntry = optional + (magic === PE32_PLUS ? 144 : 128);
  if (certificateEntry + 8 > optional + optionalBytes) {
    throw invalid("an optional header with a certificate entry", `${optionalBytes} bytes`);
  }
  const headerBytes = readU32LE(image, optional + 60);
  inside(0, headerBytes, "headers");
  if (headerBytes < certificateEntry + 8) throw invalid("headers that cover the certificate entry", `${headerBytes} bytes`);

  const parts = [
    image.subarray(0, optional + 64),
    image.subarray(optional + 68, certificateEntry),
    image.subarray(certificateEntry + 8, headerBytes),
  ];
  let hashed = headerBytes;
  for (const { start, end } of sectionRanges(image, optional + optionalBytes, sectionCount)) {
    parts.push(image.subarray(start, end));
    hashed += end - start;
  }
  const certificateBytes = readU32LE(image, certificateEntry + 4);
  if (certificateBytes > 0) {
    inside(hashed, certificateBytes, "certificate table");
    parts.push(image.subarray(hashed, image.length - certificateBytes));
  }
  if (image.length % 8 !== 0) parts.push(new Uint8Array(8 - (image.length % 8)));
  return parts;
}

/** Section contents in file order, without empty ones, clipped to the file. */
function sectionRanges(image: Uint8Array, table: number, count: number): readonly { start: number; end: number }[] {
  if (table + count * SECTION_HEADER_BYTES > image.length) throw invalid("the section table inside the file", `${count} sections`);
  return Array.from({ length: count }, (_, i) => {
    const header = table + i * SECTION_HEADER_BYTES;
    const length = readU32LE(image, header + 16);
    const start = readU32LE(image, header + 20);
    return { start: Math.min(start, image.length), end: Math.min(start + length, image.length) };
  })
    .filter(({ start, end }) => end > start)
    .sort((a, b) => a.start - b.start);
}

const invalid = (expected: string, got: string): MeasureError =>
  new MeasureError("kernel-invalid", `kernel: expected ${expected}, got ${got}`);
