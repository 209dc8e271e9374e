/** X.509 certificates and revocation lists (RFC 5280), read strictly; nothing is verified here. */
import { concatBytes, toHex } from "@dstack/bytes";
import {
  contextTag,
  DerFields,
  readBitString,
  readBoolean,
  readChildren,
  readDer,
  readIntegerBytes,
  readOctetString,
  readOid,
  readPem,
  readText,
  readTime,
  readUnsigned,
  TAG,
} from "@dstack/der";
import type { DerElement } from "@dstack/der";
import { excerpt } from "@dstack/errors";
import { AttestError } from "./errors.ts";

export interface Certificate {
  readonly raw: Uint8Array;
  /** The signed part. */
  readonly tbs: Uint8Array;
  /** Serial number, hex of its content octets. */
  readonly serial: string;
  /** DER of the names: they are compared byte for byte. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKeyInfo: Uint8Array;
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
  readonly extensions: ReadonlyMap<string, CertificateExtension>;
}

export interface CertificateExtension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

export interface RevocationList {
  readonly tbs: Uint8Array;
  readonly issuer: Uint8Array;
  /** Unix seconds. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** cRLNumber (RFC 5280 5.2.3): later lists of an issuer have higher ones. */
  readonly number: bigint;
  /** Serial numbers as in `Certificate.serial`. */
  readonly revoked: ReadonlySet<string>;
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
}

export const OID = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  ecPublicKey: "1.2.840.10045.2.1",
  prime256v1: "1.2.840.10045.3.1.7",
  commonName: "2.5.4.3",
  crlNumber: "2.5.29.20",
  keyUsage: "2.5.29.15",
  basicConstraints: "2.5.29.19",
} as const;

/** @throws DerError, AttestError `certificate-malformed` */
export function parseCertificate(der: Uint8Array): Certificate {
  const outer = new DerFields(readDer(der, "certificate"), "certificate");
  const tbs = outer.take("tbsCertificate", TAG.sequence);
  const signatureAlgorithm = algorithmOf(outer.take("signatureAlgorithm", TAG.sequence));
  const signature = wholeBits(outer.take("signature", TAG.bitString));
  outer.end();

  const fields = new DerFields(tbs, "tbsCertificate");
  const version = fields.takeIf(contextTag(0, true));
  if (version === undefined || readUnsigned(onlyChild(version, "version"), "version") !== 2)
    throw malformed("not an X.509 v3 certificate");
  const serial = toHex(readIntegerBytes(fields.take("serialNumber"), "serialNumber"));
  if (algorithmOf(fields.take("signature", TAG.sequence)) !== signatureAlgorithm)
    throw malformed("two different signature algorithms");
  const issuer = fields.take("issuer", TAG.sequence).raw;
  const validity = new DerFields(fields.take("validity", TAG.sequence), "validity");
  const notBefore = readTime(validity.take("notBefore"), "notBefore");
  const notAfter = readTime(validity.take("notAfter"), "notAfter");
  validity.end();
  const subject = fields.take("subject", TAG.sequence).raw;
  const publicKeyInfo = fields.take("subjectPublicKeyInfo", TAG.sequence).raw;
  const wrapped = fields.takeIf(contextTag(3, true));
  fields.end();
  const extensions = optionalExtensions(wrapped, "extensions");
  return {
    raw: der,
    tbs: tbs.raw,
    serial,
    issuer,
    subject,
    notBefore,
    notAfter,
    publicKeyInfo,
    signatureAlgorithm,
    signature,
    extensions,
  };
}

/** Certificates of a PEM text in order. @throws DerError, AttestError */
export const parseCertificateChain = (pem: string, what: string): Certificate[] =>
  readPem(pem, "CERTIFICATE", what).map(parseCertificate);

/** The first certificate of a chain. @throws AttestError `certificate-malformed` where there is none */
export function leafOf<T extends Certificate>(chain: readonly T[]): T {
  const [first] = chain;
  if (first === undefined) throw malformed("the chain is empty");
  return first;
}

/** @throws DerError, AttestError `certificate-malformed`, also for a list without nextUpdate */
export function parseRevocationList(der: Uint8Array): RevocationList {
  const outer = new DerFields(readDer(der, "CRL"), "CRL");
  const tbs = outer.take("tbsCertList", TAG.sequence);
  const signatureAlgorithm = algorithmOf(outer.take("signatureAlgorithm", TAG.sequence));
  const signature = wholeBits(outer.take("signature", TAG.bitString));
  outer.end();

  const fields = new DerFields(tbs, "tbsCertList");
  const version = fields.takeIf(TAG.integer);
  if (version === undefined || readUnsigned(version, "version") !== 1) throw malformed("CRL is not version 2");
  if (algorithmOf(fields.take("signature", TAG.sequence)) !== signatureAlgorithm)
    throw malformed("CRL: two different signature algorithms");
  const issuer = fields.take("issuer", TAG.sequence).raw;
  const thisUpdate = readTime(fields.take("thisUpdate"), "thisUpdate");
  const nextUpdate = readTime(fields.take("nextUpdate"), "nextUpdate");
  const entries = fields.takeIf(TAG.sequence);
  const wrapped = fields.takeIf(contextTag(0, true));
  fields.end();
  const extensions = optionalExtensions(wrapped, "CRL extensions");
  refuseCritical(extensions, [], "CRL");
  const revoked = new Set(
    (entries === undefined ? [] : readChildren(entries, "revokedCertificates")).map(revokedSerial),
  );
  const number = crlNumber(extensions);
  return { tbs: tbs.raw, issuer, thisUpdate, nextUpdate, number, revoked, signatureAlgorithm, signature };
}

/**
 * The uncompressed point (65 bytes) of a P-256 SubjectPublicKeyInfo.
 * @throws AttestError `certificate-malformed` for any other key
 */
export function p256Point(publicKeyInfo: Uint8Array): Uint8Array {
  const fields = new DerFields(readDer(publicKeyInfo, "public key"), "public key");
  const algorithm = new DerFields(fields.take("algorithm", TAG.sequence), "public key algorithm");
  const point = wholeBits(fields.take("subjectPublicKey", TAG.bitString));
  fields.end();
  const isEc = readOid(algorithm.take("algorithm", TAG.oid)) === OID.ecPublicKey;
  if (
    !isEc ||
    readOid(algorithm.take("parameters", TAG.oid)) !== OID.prime256v1 ||
    point.length !== 65 ||
    point[0] !== 4
  ) {
    throw malformed("public key is not an uncompressed P-256 point");
  }
  algorithm.end();
  return point;
}

/**
 * r and s as 64 bytes, from the DER form that certificates carry.
 * @throws DerError, AttestError `certificate-malformed`
 */
export function ecdsaSignature(der: Uint8Array): Uint8Array {
  const fields = new DerFields(readDer(der, "ECDSA signature"), "ECDSA signature");
  const parts = [fields.take("r"), fields.take("s")].map((element) => {
    const bytes = readIntegerBytes(element, "ECDSA signature");
    const magnitude = bytes[0] === 0 ? bytes.subarray(1) : bytes;
    if ((bytes[0] ?? 0x80) >= 0x80 || magnitude.length > 32) throw malformed("ECDSA signature value out of range");
    return concatBytes(new Uint8Array(32 - magnitude.length), magnitude);
  });
  fields.end();
  return concatBytes(...parts);
}

/** Names by the bytes they were read from, as long as somebody holds those: every chain asks for the root's. */
const names = new WeakMap<Uint8Array, string>();

/** An excerpt of the last CN of a DER name, or "" where there is none: whoever made the name reaches our log with it. */
export function commonName(name: Uint8Array): string {
  const known = names.get(name);
  if (known !== undefined) return known;
  const found = readCommonName(name);
  names.set(name, found);
  return found;
}

function readCommonName(name: Uint8Array): string {
  let found = "";
  for (const set of readChildren(readDer(name, "name"), "name")) {
    for (const attribute of readChildren(set, "name")) {
      const fields = new DerFields(attribute, "name attribute");
      const isCommonName = readOid(fields.take("type", TAG.oid)) === OID.commonName;
      const value = fields.take("value");
      if (isCommonName) found = excerpt(readText(value, "common name"));
    }
  }
  return found;
}

/** basicConstraints: CA flag and path length. Absent extension: not a CA. */
export function basicConstraints(certificate: Certificate): { readonly ca: boolean; readonly pathLength?: number } {
  const extension = certificate.extensions.get(OID.basicConstraints);
  if (extension === undefined) return { ca: false };
  const fields = new DerFields(readDer(extension.value, "basicConstraints"), "basicConstraints");
  const flag = fields.takeIf(TAG.boolean);
  const length = fields.takeIf(TAG.integer);
  fields.end();
  const ca = flag !== undefined && readBoolean(flag, "cA");
  return length === undefined ? { ca } : { ca, pathLength: readUnsigned(length, "pathLen") };
}

/** keyUsage includes keyCertSign (bit 5). Absent extension: no. */
export const maySignCertificates = (certificate: Certificate): boolean => (keyUsage(certificate) & 0x04) !== 0;

/** keyUsage includes cRLSign (bit 6). Absent extension: no. */
export const maySignRevocationLists = (certificate: Certificate): boolean => (keyUsage(certificate) & 0x02) !== 0;

/** @throws AttestError `certificate-malformed` for a critical extension that is not in `known` */
export function refuseCritical(
  extensions: ReadonlyMap<string, CertificateExtension>,
  known: readonly string[],
  what: string,
): void {
  for (const [oid, { critical }] of extensions) {
    if (critical && !known.includes(oid)) throw malformed(`${what}: unknown critical extension ${oid}`);
  }
}

const optionalExtensions = (wrapped: DerElement | undefined, what: string): Map<string, CertificateExtension> =>
  wrapped === undefined ? new Map() : extensionsOf(onlyChild(wrapped, what));

/** The first octet, bit 0 highest; 0 without the extension. */
function keyUsage(certificate: Certificate): number {
  const extension = certificate.extensions.get(OID.keyUsage);
  if (extension === undefined) return 0;
  return readBitString(readDer(extension.value, "keyUsage"), "keyUsage").bytes[0] ?? 0;
}

function extensionsOf(list: DerElement): Map<string, CertificateExtension> {
  const extensions = new Map<string, CertificateExtension>();
  for (const element of readChildren(list, "extensions")) {
    const fields = new DerFields(element, "extension");
    const oid = readOid(fields.take("extnID", TAG.oid));
    const flag = fields.takeIf(TAG.boolean);
    const value = readOctetString(fields.take("extnValue", TAG.octetString));
    fields.end();
    if (extensions.has(oid)) throw malformed(`extension ${oid} comes twice`);
    extensions.set(oid, { critical: flag !== undefined && readBoolean(flag, "critical"), value });
  }
  return extensions;
}

function crlNumber(extensions: ReadonlyMap<string, CertificateExtension>): bigint {
  const extension = extensions.get(OID.crlNumber);
  if (extension === undefined) throw malformed("CRL without a number");
  const bytes = readIntegerBytes(readDer(extension.value, "CRL number"), "CRL number");
  if ((bytes[0] ?? 0x80) >= 0x80) throw malformed("CRL number is negative");
  return BigInt(`0x${toHex(bytes)}`);
}

function revokedSerial(entry: DerElement): string {
  const fields = new DerFields(entry, "CRL entry");
  const serial = toHex(readIntegerBytes(fields.take("userCertificate"), "CRL entry"));
  readTime(fields.take("revocationDate"), "revocationDate");
  fields.takeIf(TAG.sequence);
  fields.end();
  return serial;
}

function algorithmOf(element: DerElement): string {
  const fields = new DerFields(element, "algorithm");
  return readOid(fields.take("algorithm", TAG.oid));
}

function onlyChild(element: DerElement, what: string): DerElement {
  const [child, ...rest] = readChildren(element, what);
  if (child === undefined || rest.length > 0) throw malformed(`${what}: expected one element`);
  return child;
}

function wholeBits(element: DerElement): Uint8Array {
  const { bytes, unusedBits } = readBitString(element);
  if (unusedBits !== 0) throw malformed("bit string is not whole octets");
  return bytes;
}

const malformed = (text: string): AttestError => new AttestError("certificate-malformed", `certificate: ${text}`);
