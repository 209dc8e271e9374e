/**
 * ACPI machine language, as much of it as a DSDT of QEMU's q35 machine needs (ACPI 6.5, chapter 20).
 *
 * Every function returns the finished bytes of one term; a body is a list of terms. An
 * operand may be given as bytes, as a number (shortest integer form) or as a string, which
 * is a *name*: literal strings are written `text("...")`.
 */
import { concatBytes, u16le, u32le, u64le } from "@dstack/bytes";
import { guidBytes } from "../guid.ts";

export type Term = Uint8Array;
export type Operand = Term | number | string;

const bytes = (...values: number[]): Term => Uint8Array.from(values);

/** A DSDT has thousands of four-letter names; a text encoder takes longer for each than all else. */
function ascii(value: string): Term {
  const out = new Uint8Array(value.length);
  for (let i = 0; i < value.length; i++) out[i] = value.charCodeAt(i);
  return out;
}

export const nothing: Term = bytes();
/** The target of an operation whose result is used in place. */
const noTarget: Term = bytes(0x00);

export const arg = (n: number): Term => bytes(0x68 + n);
export const local = (n: number): Term => bytes(0x60 + n);
export const debugObject: Term = bytes(0x5b, 0x31);

/** The shortest of the five integer forms; 64-bit integers do not occur outside resources. */
export function integer(value: number): Term {
  if (value === 0) return bytes(0x00);
  if (value === 1) return bytes(0x01);
  if (value <= 0xff) return bytes(0x0a, value);
  if (value <= 0xffff) return concatBytes(bytes(0x0b), u16le(value));
  return concatBytes(bytes(0x0c), u32le(value));
}

export const text = (value: string): Term => concatBytes(bytes(0x0d), ascii(value), bytes(0x00));

/** `\A.B`, `^A`, `A`: segments are padded with `_` to four letters; `\` alone is the root. */
export function namePath(path: string): Term {
  const rest = path.replace(/^(?:\\|\^+)/, "");
  const segments = rest === "" ? [] : rest.split(".");
  const names = segments.map((segment) => ascii(segment.padEnd(4, "_")));
  const lead =
    segments.length === 0
      ? bytes(0x00)
      : segments.length === 1
        ? nothing
        : segments.length === 2
          ? bytes(0x2e)
          : bytes(0x2f, segments.length);
  return concatBytes(ascii(path.slice(0, path.length - rest.length)), lead, ...names);
}

function operand(value: Operand): Term {
  if (typeof value === "number") return integer(value);
  return typeof value === "string" ? namePath(value) : value;
}

const operands = (values: readonly Operand[]): Term[] => values.map(operand);

/** PkgLength counts itself: 1 byte below 63 content bytes, then 4 low bits first and 8 bits per further byte. */
function withLength(...content: readonly Term[]): Term {
  const body = concatBytes(...content);
  const width = body.length < 63 ? 1 : body.length < 0xffe ? 2 : body.length < 0xffffd ? 3 : 4;
  const value = body.length + width;
  if (width === 1) return concatBytes(bytes(value), body);
  const lead = [((width - 1) << 6) | (value & 0xf)];
  for (let i = 0, rest = value >>> 4; i < width - 1; i++, rest >>>= 8) lead.push(rest & 0xff);
  return concatBytes(Uint8Array.from(lead), body);
}

// ---- named objects

export const scope = (path: string, ...body: readonly Term[]): Term =>
  concatBytes(bytes(0x10), withLength(namePath(path), ...body));
export const device = (path: string, ...body: readonly Term[]): Term =>
  concatBytes(bytes(0x5b, 0x82), withLength(namePath(path), ...body));
export const processor = (path: string, id: number, ...body: readonly Term[]): Term =>
  concatBytes(bytes(0x5b, 0x83), withLength(namePath(path), bytes(id), u32le(0), bytes(0), ...body));
export const name = (path: string, value: Operand): Term => concatBytes(bytes(0x08), namePath(path), operand(value));
export const mutex = (path: string): Term => concatBytes(bytes(0x5b, 0x01), namePath(path), bytes(0));
export const method = (path: string, args: number, ...body: readonly Term[]): Term =>
  concatBytes(bytes(0x14), withLength(namePath(path), bytes(args), ...body));
/** A method that no two threads may be in at once. */
export const serializedMethod = (path: string, args: number, ...body: readonly Term[]): Term =>
  method(path, args | 8, ...body);

export const regionSpace = { systemIo: 1, pciConfig: 2 } as const;
export type RegionSpace = (typeof regionSpace)[keyof typeof regionSpace];

export const operationRegion = (path: string, space: RegionSpace, offset: number, length: number): Term =>
  concatBytes(bytes(0x5b, 0x80), namePath(path), bytes(space), integer(offset), integer(length));

export const fieldAccess = { byte: 1, dword: 3 } as const;
export const fieldUpdate = { preserve: 0, writeAsZeros: 2 } as const;
export type FieldFlags = {
  access: (typeof fieldAccess)[keyof typeof fieldAccess];
  update: (typeof fieldUpdate)[keyof typeof fieldUpdate];
};
/** Name and width in bits, below 64; the empty name leaves a gap. */
export type FieldUnit = readonly [name: string, bits: number];

export const field = (region: string, flags: FieldFlags, ...units: readonly FieldUnit[]): Term =>
  concatBytes(
    bytes(0x5b, 0x81),
    withLength(
      namePath(region),
      bytes(flags.access | (flags.update << 5)),
      ...units.map(([unit, bits]) => concatBytes(namePath(unit), bytes(bits))),
    ),
  );

// ---- data

export const buffer = (content: Term): Term => concatBytes(bytes(0x11), withLength(integer(content.length), content));
export const packageOf = (...elements: readonly Operand[]): Term => sizedPackage(elements.length, ...elements);
/** A package that has room for `count` elements, of which the given ones are set. */
export const sizedPackage = (count: number, ...elements: readonly Operand[]): Term =>
  concatBytes(bytes(0x12), withLength(bytes(count), ...operands(elements)));

/** `PNP0A08`: three letters of five bits, then four hex digits, stored big-endian in an integer. */
export function eisaId(id: string): Term {
  const letter = (i: number): number => id.charCodeAt(i) - 0x40;
  const value = (((letter(0) << 10) | (letter(1) << 5) | letter(2)) << 16) | Number.parseInt(id.slice(3), 16);
  return concatBytes(bytes(0x0c), bytes(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff));
}

/** A UUID as the buffer that ACPI compares: its first three groups little-endian. */
export const uuid = (value: string): Term => buffer(guidBytes(value));

// ---- statements and expressions

export const store = (value: Operand, target: Operand): Term =>
  concatBytes(bytes(0x70), operand(value), operand(target));

const binary =
  (opcode: number) =>
  (a: Operand, b: Operand, target: Operand = noTarget): Term =>
    concatBytes(bytes(opcode), operand(a), operand(b), operand(target));
export const and = binary(0x7b);
export const or = binary(0x7d);
export const subtract = binary(0x74);
export const shiftLeft = binary(0x79);
export const index = binary(0x88);

const prefixed =
  (...opcode: readonly number[]) =>
  (...values: readonly Operand[]): Term =>
    concatBytes(bytes(...opcode), ...operands(values));
export const toHexString = prefixed(0x98);
export const toBuffer = prefixed(0x96);
export const derefOf = prefixed(0x83);
export const sizeOf = prefixed(0x87);
export const increment = prefixed(0x75);
export const not = prefixed(0x92);
export const bothOf = prefixed(0x90);
export const eitherOf = prefixed(0x91);
export const equal = prefixed(0x93);
export const notEqual = prefixed(0x92, 0x93);
export const less = prefixed(0x95);
export const notify = prefixed(0x86);
export const returns = prefixed(0xa4);
export const leaveLoop: Term = bytes(0xa5);
export const createDwordField = prefixed(0x8a);
export const release = prefixed(0x5b, 0x27);
/** Waits for ever. */
export const acquire = (path: string): Term => concatBytes(bytes(0x5b, 0x23), namePath(path), u16le(0xffff));
export const call = (path: string, ...args: readonly Operand[]): Term => concatBytes(namePath(path), ...operands(args));

export const when = (condition: Term, ...body: readonly Term[]): Term =>
  concatBytes(bytes(0xa0), withLength(condition, ...body));
export const otherwise = (...body: readonly Term[]): Term => concatBytes(bytes(0xa1), withLength(...body));
export const loop = (condition: Term, ...body: readonly Term[]): Term =>
  concatBytes(bytes(0xa2), withLength(condition, ...body));

// ---- resource descriptors

export const resourceTemplate = (...descriptors: readonly Term[]): Term =>
  buffer(concatBytes(...descriptors, bytes(0x79, 0x00)));
export const ioPort = (base: number, alignment: number, length: number): Term =>
  concatBytes(bytes(0x47, 0x01), u16le(base), u16le(base), bytes(alignment, length));
/** A legacy interrupt line; `flags` is written only where the platform writes it. */
export const irq = (line: number, flags?: number): Term =>
  flags === undefined
    ? concatBytes(bytes(0x22), u16le(1 << line))
    : concatBytes(bytes(0x23), u16le(1 << line), bytes(flags));
export const interrupts = (flags: number, ...lines: readonly number[]): Term =>
  concatBytes(bytes(0x89), u16le(2 + 4 * lines.length), bytes(flags, lines.length), ...lines.map(u32le));
export const busRange = (first: number, last: number): Term =>
  concatBytes(bytes(0x88, 0x0d, 0x00, 0x02, 0x0c, 0x00), ...[0, first, last, 0, last - first + 1].map(u16le));
export const ioRange = (first: number, last: number): Term =>
  concatBytes(bytes(0x88, 0x0d, 0x00, 0x01, 0x0c, 0x03), ...[0, first, last, 0, last - first + 1].map(u16le));
export const caching = { none: 0x01, full: 0x03 } as const;
export const memoryRange32 = (first: number, last: number, flags: (typeof caching)[keyof typeof caching]): Term =>
  concatBytes(bytes(0x87, 0x17, 0x00, 0x00, 0x0c, flags), ...[0, first, last, 0, last - first + 1].map(u32le));
export const memoryRange64 = (first: bigint, length: bigint): Term =>
  concatBytes(bytes(0x8a, 0x2b, 0x00, 0x00, 0x0c, 0x03), ...[0n, first, first + length - 1n, 0n, length].map(u64le));
