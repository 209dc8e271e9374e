/** The shared libraries an ELF file asks for: DT_NEEDED entries (System V gABI, chapter 5; 64-bit little-endian only). */
import { ImageError } from "../errors.ts";

export function neededLibraries(file: Uint8Array): string[] {
  const view = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  if (view.length < 64 || view.readUInt32BE(0) !== 0x7f454c46 || view[4] !== 2 || view[5] !== 1)
    throw new ImageError("build-failed", "not a 64-bit little-endian ELF file");
  const number = (at: number): number => Number(view.readBigUInt64LE(at));
  const [headers, size, count] = [number(32), view.readUInt16LE(54), view.readUInt16LE(56)];
  const segments = Array.from({ length: count }, (_, index) => {
    const at = headers + index * size;
    return { type: view.readUInt32LE(at), offset: number(at + 8), address: number(at + 16), length: number(at + 32) };
  });
  const dynamic = segments.find((segment) => segment.type === 2);
  if (dynamic === undefined) return [];
  const entries = Array.from({ length: dynamic.length / 16 }, (_, index) => ({
    tag: number(dynamic.offset + index * 16),
    value: number(dynamic.offset + index * 16 + 8),
  }));
  const strings = entries.find((entry) => entry.tag === 5)?.value ?? 0;
  const segment = segments.find(
    ({ type, address, length }) => type === 1 && strings >= address && strings < address + length,
  );
  if (segment === undefined) throw new ImageError("build-failed", "ELF string table lies outside every loaded segment");
  const base = strings - segment.address + segment.offset;
  return entries
    .slice(
      0,
      entries.findIndex((entry) => entry.tag === 0),
    )
    .filter((entry) => entry.tag === 1)
    .map((entry) => view.toString("latin1", base + entry.value, view.indexOf(0, base + entry.value)));
}
