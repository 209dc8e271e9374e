/** DER writers: each returns a whole element. */
import { concatBytes, utf8 } from "@dstack/bytes";
import { DerError } from "./errors.ts";
import { contextTag, TAG } from "./tags.ts";

/** One element of any tag; the length in its shortest form. */
export function derElement(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = concatBytes(...content);
  return concatBytes(Uint8Array.of(tag), lengthOctets(body.length), body);
}

export const derSequence = (...items: readonly Uint8Array[]): Uint8Array => derElement(TAG.sequence, ...items);

/** SET OF: elements in the ascending order of their encodings (X.690 11.6). */
export const derSet = (...items: readonly Uint8Array[]): Uint8Array =>
  derElement(TAG.set, ...items.toSorted(compareBytes));

export const derOctetString = (bytes: Uint8Array): Uint8Array => derElement(TAG.octetString, bytes);
export const derNull = (): Uint8Array => derElement(TAG.null);
export const derBoolean = (value: boolean): Uint8Array => derElement(TAG.boolean, Uint8Array.of(value ? 0xff : 0));
export const derUtf8 = (text: string): Uint8Array => derElement(TAG.utf8String, utf8(text));
export const derBitString = (bytes: Uint8Array, unusedBits = 0): Uint8Array =>
  derElement(TAG.bitString, Uint8Array.of(unusedBits), bytes);

/** `[number]` around content: constructed for EXPLICIT and structures, primitive for IMPLICIT strings. */
export const derContext = (number: number, constructed: boolean, ...content: readonly Uint8Array[]): Uint8Array =>
  derElement(contextTag(number, constructed), ...content);

/** A non-negative INTEGER from a number, or from big-endian magnitude bytes. */
export function derUnsigned(value: number | Uint8Array): Uint8Array {
  return derElement(TAG.integer, unsignedOctets(value));
}

export const derEnumerated = (value: number): Uint8Array => derElement(TAG.enumerated, unsignedOctets(value));

/** OBJECT IDENTIFIER from dotted text. */
export function derOid(dotted: string): Uint8Array {
  const arcs = dotted.split(".").map(Number);
  const [top, second, ...rest] = arcs;
  if (
    top === undefined ||
    second === undefined ||
    arcs.some((arc) => !Number.isSafeInteger(arc) || arc < 0) ||
    top > 2 ||
    (top < 2 && second > 39)
  ) {
    throw new DerError("value-invalid", `not an object identifier: ${dotted}`);
  }
  const octets: number[] = [];
  for (const arc of [top * 40 + second, ...rest]) {
    const group = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) group.unshift((left % 128) | 0x80);
    octets.push(...group);
  }
  return derElement(TAG.oid, Uint8Array.from(octets));
}

/** UTCTime for 1950 to 2049, GeneralizedTime else, as RFC 5280 4.1.2.5 demands. */
export function derTime(unixSeconds: number): Uint8Array {
  const date = new Date(unixSeconds * 1000);
  const year = date.getUTCFullYear();
  if (!Number.isSafeInteger(unixSeconds) || Number.isNaN(year) || year < 1950 || year > 9999) {
    throw new DerError("value-invalid", `time ${unixSeconds} is outside of what a certificate can say`);
  }
  const text = date.toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return year < 2050 ? derElement(TAG.utcTime, utf8(text.slice(2))) : derElement(TAG.generalizedTime, utf8(text));
}

function unsignedOctets(value: number | Uint8Array): Uint8Array {
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new DerError("value-invalid", `not an unsigned integer: ${value}`);
    const octets: number[] = [];
    for (let left = value; left > 0; left = Math.floor(left / 256)) octets.unshift(left % 256);
    return unsignedOctets(Uint8Array.from(octets));
  }
  let start = 0;
  while (start < value.length && value[start] === 0) start++;
  const magnitude = value.subarray(start);
  return (magnitude[0] ?? 0x80) >= 0x80 ? concatBytes(Uint8Array.of(0), magnitude) : magnitude;
}

function lengthOctets(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const octets: number[] = [];
  for (let left = length; left > 0; left = Math.floor(left / 256)) octets.unshift(left % 256);
  return Uint8Array.of(0x80 | octets.length, ...octets);
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
