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

/**
 * @param head what the image's first bytes are instead of the file's; it holds the image's headers
 * @throws MeasureError `kernel-invalid` when the file is not a PE image or its headers point outside
 */
export function authenticodeParts(image: Uint8Array, head: Uint8Array = image): readonly Uint8Array[] {
  const insideHead = (offset: number, length: number, what: string): void => {
    if (offset + length > head.length)
      throw invalid(`${what} inside the first ${head.length} bytes`, `end ${offset + length}`);
  };
  insideHead(0x3c, 4, "PE offset");
  const pe = readU32LE(head, 0x3c);
  insideHead(pe, 24, "PE header");
  if (!equalBytes(head.subarray(pe, pe + 4), utf8("PE\0\0")))
    throw invalid("a PE image (a kernel with an EFI stub)", "other bytes");
  const sectionCount = readU16LE(head, pe + 6);
  if (sectionCount > MAX_SECTIONS) throw invalid(`at most ${MAX_SECTIONS} sections`, `${sectionCount}`);
  const optional = pe + 24;
  const optionalBytes = readU16LE(head, pe + 20);
  insideHead(optional, optionalBytes + sectionCount * SECTION_HEADER_BYTES, "optional header and section table");
  const magic = optionalBytes < 2 ? 0 : readU16LE(head, optional);
  if (magic !== PE32 && magic !== PE32_PLUS) throw invalid("a PE32 or PE32+ image", `magic ${magic}`);
  const certificateEntry = optional + (magic === PE32_PLUS ? 144 : 128);
  if (certificateEntry + 8 > optional + optionalBytes) {
    throw invalid("an optional header with a certificate entry", `${optionalBytes} bytes`);
  }
  const headerBytes = readU32LE(head, optional + 60);
  insideHead(0, headerBytes, "headers");
  if (headerBytes < certificateEntry + 8)
    throw invalid("headers that cover the certificate entry", `${headerBytes} bytes`);

  const parts = [
    head.subarray(0, optional + 64),
    head.subarray(optional + 68, certificateEntry),
    head.subarray(certificateEntry + 8, headerBytes),
  ];
  const add = (start: number, end: number): void => {
    if (start < head.length) parts.push(head.subarray(start, Math.min(end, head.length)));
    if (end > head.length) parts.push(image.subarray(Math.max(start, head.length), end));
  };
  let hashed = headerBytes;
  for (const { start, end } of sectionRanges(head, optional + optionalBytes, sectionCount, image.length)) {
    add(start, end);
    hashed += end - start;
  }
  const certificateBytes = readU32LE(head, certificateEntry + 4);
  if (certificateBytes > 0) {
    if (hashed + certificateBytes > image.length)
      throw invalid("the certificate table inside the file", `end ${hashed + certificateBytes} of ${image.length}`);
    add(hashed, image.length - certificateBytes);
  }
  if (image.length % 8 !== 0) parts.push(new Uint8Array(8 - (image.length % 8)));
  return parts;
}

/** Section contents in file order, without empty ones, clipped to the file. */
function sectionRanges(
  head: Uint8Array,
  table: number,
  count: number,
  imageBytes: number,
): readonly { start: number; end: number }[] {
  return Array.from({ length: count }, (_, i) => {
    const header = table + i * SECTION_HEADER_BYTES;
    const length = readU32LE(head, header + 16);
    const start = readU32LE(head, header + 20);
    return { start: Math.min(start, imageBytes), end: Math.min(start + length, imageBytes) };
  })
    .filter(({ start, end }) => end > start)
    .sort((a, b) => a.start - b.start);
}

const invalid = (expected: string, got: string): MeasureError =>
  new MeasureError("kernel-invalid", `kernel: expected ${expected}, got ${got}`);
