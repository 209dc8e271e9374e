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
}

export interface RevocationFields {
  issuer: string;
  signer: KeyName;
  thisUpdate: number;
  nextUpdate: number;
  /** Serial numbers. */
  revoked: readonly number[];
  /** cRLNumber; 1 unless given. */
  number?: number;
}

/** A signed X.509 v3 certificate in DER. */
export function forgeCertificate(fields: CertificateFields): Uint8Array {
  const extensions = [
    extension(
      OID.keyUsage,
      true,
      derBitString(Uint8Array.of(fields.signsCertificates ? 0x06 : 0x80), fields.signsCertificates ? 1 : 7),
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
export function forgeRevocationList({
  issuer,
  signer,
  thisUpdate,
  nextUpdate,
  revoked,
  number = 1,
}: RevocationFields): Uint8Array {
  const entries = revoked.map((serial) => derSequence(derUnsigned(serial), derTime(thisUpdate)));
  return signed(
    signer,
    derSequence(
      derUnsigned(1),
      algorithm(),
      name(issuer),
      derTime(thisUpdate),
      derTime(nextUpdate),
      ...(entries.length === 0 ? [] : [derSequence(...entries)]),
      derContext(0, true, derSequence(extension(OID.crlNumber, false, derUnsigned(number)))),
    ),
  );
}

const algorithm = (): Uint8Array => derSequence(derOid(OID.ecdsaWithSha256));
const name = (text: string): Uint8Array => derSequence(derSet(derSequence(derOid(OID.commonName), derUtf8(text))));
const extension = (oid: string, critical: boolean, value: Uint8Array): Uint8Array =>
  derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value));

function platformExtension({ ppid, cpuSvn, components: given, pceSvn, pceId, fmspc }: PlatformFields): Uint8Array {
  const item = (arc: string, value: Uint8Array): Uint8Array => derSequence(derOid(`${SGX_EXTENSION}.${arc}`), value);
  const components = Array.from(given ?? cpuSvn, (svn, index) => item(`2.${index + 1}`, derUnsigned(svn)));
  return derSequence(
    item("1", derOctetString(ppid)),
    item("2", derSequence(...components, item("2.17", derUnsigned(pceSvn)), item("2.18", derOctetString(cpuSvn)))),
    item("3", derOctetString(pceId)),
    item("4", derOctetString(fmspc)),
    item("5", derEnumerated(0)),
  );
}

function signed(signer: KeyName, tbs: Uint8Array): Uint8Array {
  const signature = new Uint8Array(sign("sha256", tbs, { key: privateKeyObject(keyOf(signer)), dsaEncoding: "der" }));
  return derSequence(tbs, algorithm(), derBitString(signature));
}
