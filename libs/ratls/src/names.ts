import { isIP } from "node:net";
import { concatBytes, utf8 } from "@dstack/bytes";
import { derContext, derElement, derOid, derSequence, derSet, derUtf8, TAG } from "@dstack/der";
import { RatlsError } from "./errors.ts";
import { X509_OID } from "./oids.ts";

const MAX_NAME_BYTES = 256;
const MAX_ALT_NAMES = 128;
const CONTROL = /[\u0000-\u001f\u007f]/;
// What a dNSName may hold once IP addresses are taken out: letters, digits, hyphen, dot, underscore, wildcard.
const DNS_NAME = /^[A-Za-z0-9_*](?:[A-Za-z0-9._*-]{0,252})$/;

/** DER Name: organizationName where given, then commonName, each its own RDN of UTF8String. @throws RatlsError `name-invalid` */
export function encodeName(commonName: string, organization?: string): Uint8Array {
  const parts = [];
  if (organization !== undefined) parts.push(attribute(X509_OID.organizationName, organization));
  parts.push(attribute(X509_OID.commonName, commonName));
  return derSequence(...parts);
}

/** GeneralNames: text that is an IP address becomes iPAddress, everything else dNSName. @throws RatlsError `name-invalid` */
export function encodeAltNames(names: readonly string[]): Uint8Array {
  if (names.length > MAX_ALT_NAMES)
    throw new RatlsError("name-invalid", `subject alternative names: ${names.length}, limit ${MAX_ALT_NAMES}`);
  return derSequence(...names.map(altName));
}

/** Octets of an IPv4 (4) or IPv6 (16) address in text, or undefined where the text is neither. */
export function ipOctets(text: string): Uint8Array | undefined {
  const version = isIP(text);
  if (version === 4) return Uint8Array.from(text.split("."), Number);
  if (version === 0 || text.includes("%")) return undefined;
  const [head = "", tail] = text.split("::");
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const fill = tail === undefined ? 0 : 8 - left.length - right.length;
  const words = [...left, ...Array.from({ length: fill }, () => 0), ...right];
  return Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]));
}

function groups(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (!group.includes(".")) return [Number.parseInt(group, 16)];
    const [a, b, c, d] = group.split(".").map(Number) as [number, number, number, number];
    return [a * 256 + b, c * 256 + d];
  });
}

function altName(name: string): Uint8Array {
  const address = ipOctets(name);
  if (address !== undefined) return derContext(7, false, address);
  if (!DNS_NAME.test(name))
    throw new RatlsError(
      "name-invalid",
      `subject alternative name ${JSON.stringify(name.slice(0, 80))} is neither a DNS name nor an IP address`,
    );
  return derContext(2, false, utf8(name));
}

function attribute(oid: string, value: string): Uint8Array {
  if (utf8(value).length > MAX_NAME_BYTES || CONTROL.test(value)) {
    throw new RatlsError(
      "name-invalid",
      `certificate subject: expected at most ${MAX_NAME_BYTES} bytes without control characters`,
    );
  }
  return derSet(derSequence(derOid(oid), derUtf8(value)));
}

/** One extension: SEQUENCE { OID, critical where true, OCTET STRING }. */
export function encodeExtension(oid: string, critical: boolean, value: Uint8Array): Uint8Array {
  const flag = critical ? derElement(TAG.boolean, Uint8Array.of(0xff)) : new Uint8Array();
  return derSequence(concatBytes(derOid(oid), flag, derElement(TAG.octetString, value)));
}
