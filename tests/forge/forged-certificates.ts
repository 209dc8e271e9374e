import { sign } from "node:crypto";
import {
  derBitString,
  derBoolean,
  derContext,
  derEnumerated,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  derUtf8,
} from "@dstack/der";
import { OID, SGX_EXTENSION } from "@dstack/attest";
import { privateKeyObject, spkiDer } from "@dstack/keys";
import { keyOf, type KeyName } from "./forging-keys.ts";

export interface CertificateFields {
  name: string;
  issuer: string;
  key: KeyName;
  signer: KeyName;
  serial: number;
  /** Unix seconds. */
  notBefore: number;
  notAfter: number;
  ca: boolean;
  signsCertificates: boolean;
  /** First octet of the key usage where it is not the one that follows from `signsCertificates`. */
  keyUsage?: number;
  pathLength?: number;
  /** OID of a critical extension that nobody knows. */
  unknownCritical?: string;
  /** The SGX extension of a PCK certificate. */
  platform?: PlatformFields;
}

export interface PlatformFields {
  ppid: Uint8Array;
  cpuSvn: Uint8Array;
  /** The sixteen component numbers where they differ from CPUSVN. */
  components?: readonly number[];
  pceSvn: number;
  pceId: Uint8Array;
  fmspc: Uint8Array;
  /** 0 unless given; undefined leaves it out. */
  sgxType?: number | undefined;
}

export interface RevocationFields {
  issuer: string;
  signer: KeyName;
  thisUpdate: number;
  nextUpdate: number;
  /** Serial numbers. */
  revoked: readonly number[];
  /** The list's version field: 1, which says version 2, unless given; undefined leaves it out. */
  version?: number | undefined;
  /** The list's own number: 1 unless given; undefined leaves it out. */
  number?: number | undefined;
}

/** A signed X.509 v3 certificate in DER. */
export function forgeCertificate(fields: CertificateFields): Uint8Array {
  const extensions = [
    extension(
      OID.keyUsage,
      true,
      derBitString(
        Uint8Array.of(fields.keyUsage ?? (fields.signsCertificates ? 0x06 : 0x80)),
        fields.signsCertificates ? 1 : 7,
      ),
    ),
    ...(fields.ca
      ? [
          extension(
            OID.basicConstraints,
            true,
            derSequence(derBoolean(true), ...(fields.pathLength === undefined ? [] : [derUnsigned(fields.pathLength)])),
          ),
        ]
      : []),
    ...(fields.unknownCritical === undefined ? [] : [extension(fields.unknownCritical, true, derSequence())]),
    ...(fields.platform === undefined ? [] : [extension(SGX_EXTENSION, false, platformExtension(fields.platform))]),
  ];
  return signed(
    fields.signer,
    derSequence(
      derContext(0, true, derUnsigned(2)),
      derUnsigned(fields.serial),
      algorithm(),
      name(fields.issuer),
      derSequence(derTime(fields.notBefore), derTime(fields.notAfter)),
      name(fields.name),
      spkiDer(keyOf(fields.key)),
      derContext(3, true, derSequence(...extensions)),
    ),
  );
}

/** A signed version 2 revocation list in DER. */
export function forgeRevocationList(fields: RevocationFields): Uint8Array {
  const { issuer, signer, thisUpdate, nextUpdate, revoked } = fields;
  const { version, number } = { version: 1, number: 1, ...fields };
  const entries = revoked.map((serial) => derSequence(derUnsigned(serial), derTime(thisUpdate)));
  return signed(
    signer,
    derSequence(
      ...(version === undefined ? [] : [derUnsigned(version)]),
      algorithm(),
      name(issuer),
      derTime(thisUpdate),
      derTime(nextUpdate),
      ...(entries.length === 0 ? [] : [derSequence(...entries)]),
      ...(number === undefined
        ? []
        : [derContext(0, true, derSequence(extension(OID.crlNumber, false, derUnsigned(number))))]),
    ),
  );
}

const algorithm = (): Uint8Array => derSequence(derOid(OID.ecdsaWithSha256));
const name = (text: string): Uint8Array => derSequence(derSet(derSequence(derOid(OID.commonName), derUtf8(text))));
const extension = (oid: string, critical: boolean, value: Uint8Array): Uint8Array =>
  derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value));

function platformExtension(fields: PlatformFields): Uint8Array {
  const { ppid, cpuSvn, components: given, pceSvn, pceId, fmspc } = fields;
  const { sgxType } = { sgxType: 0, ...fields };
  const item = (arc: string, value: Uint8Array): Uint8Array => derSequence(derOid(`${SGX_EXTENSION}.${arc}`), value);
  const components = Array.from(given ?? cpuSvn, (svn, index) => item(`2.${index + 1}`, derUnsigned(svn)));
  return derSequence(
    item("1", derOctetString(ppid)),
    item("2", derSequence(...components, item("2.17", derUnsigned(pceSvn)), item("2.18", derOctetString(cpuSvn)))),
    item("3", derOctetString(pceId)),
    item("4", derOctetString(fmspc)),
    ...(sgxType === undefined ? [] : [item("5", derEnumerated(sgxType))]),
  );
}

function signed(signer: KeyName, tbs: Uint8Array): Uint8Array {
  const signature = new Uint8Array(sign("sha256", tbs, { key: privateKeyObject(keyOf(signer)), dsaEncoding: "der" }));
  return derSequence(tbs, algorithm(), derBitString(signature));
}
