/** Readers of single values. Each demands its tag and the one encoding DER allows. */
import { utf8Decode } from "@dstack/bytes";
import { DerError } from "./errors.ts";
import { expectTag } from "./reader.ts";
import type { DerElement } from "./reader.ts";
import { TAG } from "./tags.ts";

/** @throws DerError unless 0x00 or 0xff */
export function readBoolean(element: DerElement, what = "BOOLEAN"): boolean {
  expectTag(element, TAG.boolean, what);
  const value = element.content[0];
  if (element.content.length !== 1 || (value !== 0 && value !== 0xff)) {
    throw new DerError("value-invalid", `${what}: not a DER boolean`);
  }
  return value === 0xff;
}

/**
 * Content octets of an INTEGER, two's complement, shortest form. Serial numbers are compared so.
 * @throws DerError
 */
export function readIntegerBytes(element: DerElement, what = "INTEGER"): Uint8Array {
  expectTag(element, TAG.integer, what);
  return minimalInteger(element, what);
}

/**
 * A non-negative INTEGER that fits a safe number.
 * @throws DerError `value-invalid` where negative or above 2^48
 */
export function readUnsigned(element: DerElement, what = "INTEGER"): number {
  return unsigned(readIntegerBytes(element, what), what);
}

/** A non-negative ENUMERATED. */
export function readEnumerated(element: DerElement, what = "ENUMERATED"): number {
  expectTag(element, TAG.enumerated, what);
  return unsigned(minimalInteger(element, what), what);
}

/** Content of an OCTET STRING (a view). */
export function readOctetString(element: DerElement, what = "OCTET STRING"): Uint8Array {
  expectTag(element, TAG.octetString, what);
  return element.content;
}

/**
 * A BIT STRING: its octets and how many low bits of the last one are unused (and zero).
 * @throws DerError
 */
export function readBitString(element: DerElement, what = "BIT STRING"): { bytes: Uint8Array; unusedBits: number } {
  expectTag(element, TAG.bitString, what);
  const unusedBits = element.content[0];
  const bytes = element.content.subarray(1);
  if (unusedBits === undefined || unusedBits > 7 || (bytes.length === 0 && unusedBits !== 0)) {
    throw new DerError("value-invalid", `${what}: bad count of unused bits`);
  }
  const last = bytes.at(-1) ?? 0;
  if ((last & ((1 << unusedBits) - 1)) !== 0) throw new DerError("value-invalid", `${what}: unused bits are not zero`);
  return { bytes, unusedBits };
}

/** Dotted text of an OBJECT IDENTIFIER. */
export function readOid(element: DerElement, what = "OBJECT IDENTIFIER"): string {
  expectTag(element, TAG.oid, what);
  const { content } = element;
  if (content.length === 0 || content.length > 64)
    throw new DerError("value-invalid", `${what}: ${content.length} octets`);
  const arcs: number[] = [];
  let value = 0;
  let atStart = true;
  for (const octet of content) {
    if (atStart && octet === 0x80) throw new DerError("value-invalid", `${what}: arc with leading zeros`);
    value = value * 128 + (octet & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER / 128) throw new DerError("value-invalid", `${what}: arc too large`);
    atStart = (octet & 0x80) === 0;
    if (!atStart) continue;
    if (arcs.length === 0) {
      const top = Math.min(2, Math.floor(value / 40));
      arcs.push(top, value - 40 * top);
    } else arcs.push(value);
    value = 0;
  }
  if (!atStart) throw new DerError("truncated", `${what}: ends inside an arc`);
  return arcs.join(".");
}

/** Text of a UTF8String, PrintableString or IA5String. */
export function readText(element: DerElement, what = "string"): string {
  if (element.tag === TAG.utf8String) return utf8Decode(element.content, what);
  if (element.tag !== TAG.printableString && element.tag !== TAG.ia5String) {
    throw new DerError("tag-unexpected", `${what}: tag 0x${element.tag.toString(16)} is not a known string type`);
  }
  for (const octet of element.content) {
    if (octet > 0x7f) throw new DerError("value-invalid", `${what}: not ASCII`);
  }
  return utf8Decode(element.content, what);
}

/**
 * UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 allows them: seconds present, `Z`, no fraction.
 * @returns Unix seconds
 */
export function readTime(element: DerElement, what = "time"): number {
  const utc = element.tag === TAG.utcTime;
  if (!utc) expectTag(element, TAG.generalizedTime, what);
  const { content } = element;
  const yearDigits = utc ? 2 : 4;
  if (content.length !== yearDigits + 11 || content.at(-1) !== 0x5a)
    throw new DerError("value-invalid", `${what}: not a time in the form of RFC 5280`);
  const year = decimal(content, 0, yearDigits, what);
  const fullYear = utc ? (year >= 50 ? 1900 : 2000) + year : year;
  const pair = (index: number): number => decimal(content, yearDigits + 2 * index, 2, what);
  const month = pair(0);
  const day = pair(1);
  const hour = pair(2);
  const minute = pair(3);
  const second = pair(4);
  // Date.UTC reads years below 100 as of the last century; nothing was signed then.
  const valid =
    fullYear >= 100 &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    day <= daysIn(fullYear, month) &&
    hour < 24 &&
    minute < 60 &&
    second < 60;
  if (!valid) throw new DerError("value-invalid", `${what}: no such date`);
  return Date.UTC(fullYear, month - 1, day, hour, minute, second) / 1000;
}

function decimal(content: Uint8Array, offset: number, count: number, what: string): number {
  let value = 0;
  for (let index = offset; index < offset + count; index++) {
    const digit = (content[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) throw new DerError("value-invalid", `${what}: not a time in the form of RFC 5280`);
    value = value * 10 + digit;
  }
  return value;
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function minimalInteger(element: DerElement, what: string): Uint8Array {
  const { content } = element;
  const [first, second] = content;
  if (first === undefined) throw new DerError("value-invalid", `${what}: empty integer`);
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))) {
    throw new DerError("value-invalid", `${what}: integer with superfluous leading octets`);
  }
  return content;
}

function unsigned(content: Uint8Array, what: string): number {
  if ((content[0] ?? 0) >= 0x80 || content.length > 7) {
    throw new DerError("value-invalid", `${what}: negative or above 48 bits`);
  }
  let value = 0;
  for (const octet of content) value = value * 256 + octet;
  if (value >= 2 ** 48) throw new DerError("value-invalid", `${what}: negative or above 48 bits`);
  return value;
}
