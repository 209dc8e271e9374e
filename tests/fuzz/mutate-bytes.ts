import type { Random } from "./random.ts";

/** Values at which lengths, counts and flags of the formats turn over. */
const EDGES = [
  0, 1, 2, 3, 5, 6, 47, 48, 49, 63, 64, 65, 127, 128, 255, 256, 584, 648, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff,
  0x8000_0000, 0xffff_ffff,
];

/** Largest input that is tried: parsers see large ones in their own tests, speed counts here. */
export const MAX_INPUT_BYTES = 24 * 1024;

/** One to four random edits: flips, cuts, splices with another input, edges in places where lengths may be. */
export function mutateBytes(random: Random, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  let out: Uint8Array = Uint8Array.from(bytes);
  for (let edits = 1 + random.below(4); edits > 0; edits--) out = random.pick(EDITS)(random, out, other);
  return out.length > MAX_INPUT_BYTES ? out.subarray(0, MAX_INPUT_BYTES) : out;
}

type Edit = (random: Random, bytes: Uint8Array, other: Uint8Array) => Uint8Array;

const EDITS: readonly Edit[] = [
  function flipBit(random, bytes) {
    if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    return bytes;
  },
  function setByte(random, bytes) {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.u32();
    return bytes;
  },
  function writeEdge(random, bytes) {
    const width = random.pick([1, 2, 4]);
    if (bytes.length < width) return bytes;
    const at = random.below(bytes.length - width + 1);
    const value = random.pick(EDGES);
    const littleEndian = random.oneIn(2);
    for (let i = 0; i < width; i++) bytes[at + (littleEndian ? i : width - 1 - i)] = value >>> (8 * i);
    return bytes;
  },
  function addToNumber(random, bytes) {
    if (bytes.length > 0) bytes[random.below(bytes.length)]! += random.pick([1, -1, 4, -4, 16]);
    return bytes;
  },
  function cutEnd(random, bytes) {
    return bytes.subarray(0, random.below(bytes.length + 1));
  },
  function append(random, bytes) {
    const tail = new Uint8Array(1 + random.below(8)).fill(random.pick([0, 0xff, random.below(256)]));
    return join(bytes, tail);
  },
  function remove(random, bytes) {
    const [from, to] = range(random, bytes);
    return join(bytes.subarray(0, from), bytes.subarray(to));
  },
  function repeat(random, bytes) {
    const [from, to] = range(random, bytes);
    return join(bytes.subarray(0, to), bytes.subarray(from));
  },
  function splice(random, bytes, other) {
    const [from, to] = range(random, bytes);
    const [otherFrom, otherTo] = range(random, other);
    return join(bytes.subarray(0, from), other.subarray(otherFrom, otherTo), bytes.subarray(to));
  },
];

function range(random: Random, bytes: Uint8Array): [number, number] {
  const from = random.below(bytes.length + 1);
  // Mostly short pieces: long ones leave nothing to parse.
  return [from, Math.min(bytes.length, from + random.below(random.oneIn(4) ? bytes.length + 1 : 17))];
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}
