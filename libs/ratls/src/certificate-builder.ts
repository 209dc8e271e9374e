/**
 * X.509 v3 certificates in the exact encoding of the reference: serial from the public key,
 * organization before common name, a 9-bit KeyUsage, no AuthorityKeyIdentifier. A certificate
 * library would normalise several of these away.
 */
import { createHash, sign } from "node:crypto";
import type { AppId } from "@dstack/bytes";
import { concatBytes, parseHex, utf8 } from "@dstack/bytes";
import {
  encodeEventLogJson,
  encodeAttestation,
  fullEventLog,
  parseCertificate,
  stripAttestation,
} from "@dstack/attest";
import type { Attestation, Certificate } from "@dstack/attest";
import {
  derBitString,
  derContext,
  derOctetString,
  derOid,
  derSequence,
  derTime,
  derUnsigned,
  readPem,
  writePem,
} from "@dstack/der";
import { p256FromPem, pointFromSpki, privateKeyObject, spkiDer, type P256Key } from "@dstack/keys";
import { RatlsError } from "./errors.ts";
import { encodeAltNames, encodeExtension, encodeName } from "./names.ts";
import { DSTACK_OID, USAGE, X509_OID } from "./oids.ts";

/** A certificate and its text. */
export interface IssuedCertificate {
  readonly certificate: Certificate;
  readonly pem: string;
}

/** A CA that can issue: its certificate and the key that belongs to it. */
export interface SigningCa extends IssuedCertificate {
  readonly key: P256Key;
}

interface CommonOptions {
  readonly organization?: string;
  readonly commonName: string;
  /** Unix seconds; 1975-01-01 unless given. */
  readonly notBefore?: number;
  /** Unix seconds; ten years from `now` unless given. */
  readonly notAfter?: number;
  /** Unix seconds. */
  readonly now: number;
  readonly usage?: string;
  readonly appId?: AppId;
}

export interface CaOptions extends CommonOptions {
  readonly key: P256Key;
  /** Self-signed where absent. */
  readonly issuer?: SigningCa;
  readonly pathLength: number;
  /** Evidence that is bound to `key`. */
  readonly attestation?: Attestation;
}

export interface LeafOptions extends CommonOptions {
  readonly issuer: SigningCa;
  /** Uncompressed point, 65 bytes. */
  readonly publicPoint: Uint8Array;
  readonly altNames?: readonly string[];
  readonly serverAuth?: boolean;
  readonly clientAuth?: boolean;
  /** msgpack of `encodeAppInfo`. */
  readonly appInfo?: Uint8Array;
  readonly attestation?: Attestation;
  /** Whether the evidence stands there in the form of 0.5.5 too, quote and whole event log; true unless given. */
  readonly olderForm?: boolean;
}

const FIRST_MOMENT = 157_766_400;
const TEN_YEARS = 315_360_000;
const LAST_MOMENT = 253_402_300_799;
const KEY_USAGE_LEAF = parseHex("0303078000");
const KEY_USAGE_CA = parseHex("0303078600");

/** A CA certificate, self-signed or under `issuer`. @throws RatlsError */
export function createCa(options: CaOptions): SigningCa {
  const subject = encodeName(options.commonName, options.organization);
  const publicKeyInfo = spkiDer(options.key);
  const extensions = [
    encodeExtension(X509_OID.keyUsage, true, KEY_USAGE_CA),
    encodeExtension(X509_OID.subjectKeyIdentifier, false, derOctetString(sha256(publicKeyInfo).subarray(0, 20))),
    encodeExtension(X509_OID.basicConstraints, true, derSequence(parseHex("0101ff"), derUnsigned(options.pathLength))),
    ...identityExtensions(options),
    ...evidenceExtensions(options),
  ];
  const issuer = options.issuer ?? { subject, key: options.key };
  return { ...issue(options, subject, options.key.publicPoint, extensions, issuer), key: options.key };
}

/** An end-entity certificate under `issuer`. @throws RatlsError */
export function createLeaf(options: LeafOptions): IssuedCertificate {
  const extensions: Uint8Array[] = [];
  if (options.altNames !== undefined && options.altNames.length > 0) {
    extensions.push(encodeExtension(X509_OID.subjectAltName, false, encodeAltNames(options.altNames)));
  }
  extensions.push(encodeExtension(X509_OID.keyUsage, true, KEY_USAGE_LEAF));
  const purposes = [
    ...(options.serverAuth === true ? [derOid(X509_OID.serverAuth)] : []),
    ...(options.clientAuth === true ? [derOid(X509_OID.clientAuth)] : []),
  ];
  if (purposes.length > 0) extensions.push(encodeExtension(X509_OID.extendedKeyUsage, false, derSequence(...purposes)));
  extensions.push(...identityExtensions(options), ...evidenceExtensions(options));
  const subject = encodeName(options.commonName, options.organization);
  return issue(options, subject, options.publicPoint, extensions, options.issuer);
}

/** The certificate with which a guest shows its evidence to a KMS. `attestation` must be bound to `key`. */
export function createTempClientCertificate(options: {
  readonly tempCa: SigningCa;
  readonly key: P256Key;
  readonly attestation: Attestation;
  readonly now: number;
}): IssuedCertificate {
  const { tempCa: issuer, key, attestation, now } = options;
  return createLeaf({ commonName: "RA-TLS TEMP Cert", issuer, publicPoint: key.publicPoint, attestation, now });
}

/** The CA that an app's certificates are issued under; `key` is the app's derived CA key. */
export function createAppCa(options: {
  readonly root: SigningCa;
  readonly key: P256Key;
  readonly appId: AppId;
  readonly now: number;
}): SigningCa {
  const { root: issuer, key, appId, now } = options;
  return createCa({
    organization: "Dstack",
    commonName: "Dstack App CA",
    issuer,
    key,
    pathLength: 0,
    appId,
    usage: USAGE.appCa,
    now,
  });
}

/**
 * A stored CA made ready to issue.
 * @throws RatlsError `key-mismatch` where the certificate is for another key
 */
export function loadCa(certificatePem: string, keyPem: string, what = "CA"): SigningCa {
  const [der, ...rest] = readPem(certificatePem, "CERTIFICATE", `${what} certificate`);
  if (der === undefined || rest.length > 0)
    throw new RatlsError("key-mismatch", `${what}: expected one certificate, got ${rest.length + 1}`);
  const certificate = parseCertificate(der);
  const key = p256FromPem(keyPem);
  if (!Buffer.from(certificate.publicKeyInfo).equals(spkiDer(key))) {
    throw new RatlsError(
      "key-mismatch",
      `${what}: CA certificate does not match private key; restore both from the same backup`,
    );
  }
  return { certificate, pem: certificatePem, key };
}

function issue(
  options: CommonOptions,
  subject: Uint8Array,
  publicPoint: Uint8Array,
  extensions: readonly Uint8Array[],
  issuer: SigningCa | { readonly subject: Uint8Array; readonly key: P256Key },
): IssuedCertificate {
  const algorithm = derSequence(derOid(X509_OID.ecdsaWithSha256));
  const tbs = derSequence(
    derContext(0, true, derUnsigned(2)),
    derUnsigned(serialNumber(publicPoint)),
    algorithm,
    "subject" in issuer ? issuer.subject : issuer.certificate.subject,
    validity(options),
    subject,
    spkiDer(publicPoint),
    derContext(3, true, derSequence(...extensions)),
  );
  const signature = sign("sha256", tbs, { key: privateKeyObject(issuer.key), dsaEncoding: "der" });
  const der = derSequence(tbs, algorithm, derBitString(new Uint8Array(signature)));
  return { certificate: parseCertificate(der), pem: writePem(der, "CERTIFICATE") };
}

/** First 20 bytes of SHA-256 over the public point, top bit cleared. */
function serialNumber(publicPoint: Uint8Array): Uint8Array {
  // Reads the point back through its SPKI so that a point off the curve is never certified.
  const serial = sha256(pointFromSpki(spkiDer(publicPoint))).slice(0, 20);
  serial[0]! &= 0x7f;
  return serial;
}

function validity({ notBefore = FIRST_MOMENT, notAfter, now }: CommonOptions): Uint8Array {
  const end = notAfter ?? now + TEN_YEARS;
  // Dates arrive from peers as any 64-bit number (DS #1232).
  for (const date of [notBefore, end]) {
    if (!Number.isSafeInteger(date) || date < 0 || date > LAST_MOMENT) {
      throw new RatlsError(
        "validity-invalid",
        `certificate date ${date}: expected 0 to ${LAST_MOMENT} (Unix seconds up to the year 9999)`,
      );
    }
  }
  if (end <= notBefore)
    throw new RatlsError("validity-invalid", `certificate would end (${end}) before it begins (${notBefore})`);
  return derSequence(derTime(notBefore), derTime(end));
}

function identityExtensions(options: CommonOptions & { readonly appInfo?: Uint8Array }): Uint8Array[] {
  return [
    ...(options.appId === undefined ? [] : [dstackExtension(DSTACK_OID.appId, options.appId)]),
    ...(options.appInfo === undefined ? [] : [dstackExtension(DSTACK_OID.appInfo, options.appInfo)]),
    ...(options.usage === undefined ? [] : [dstackExtension(DSTACK_OID.usage, utf8(options.usage))]),
  ];
}

/**
 * The attestation, and beside it, where older readers can replay the events, the pair of quote
 * and event log that is all they know.
 */
function evidenceExtensions({
  attestation,
  olderForm = true,
}: Pick<LeafOptions, "attestation" | "olderForm">): Uint8Array[] {
  if (attestation === undefined) return [];
  const isReplayable = attestation.runtimeEvents.every((event) => event.version !== 2);
  const pair =
    olderForm && isReplayable
      ? [
          dstackExtension(DSTACK_OID.quote, attestation.platform.quote),
          dstackExtension(DSTACK_OID.eventLog, utf8(encodeEventLogJson(fullEventLog(attestation)))),
        ]
      : [];
  return [...pair, dstackExtension(DSTACK_OID.attestation, encodeAttestation(stripAttestation(attestation)))];
}

const dstackExtension = (oid: string, payload: Uint8Array): Uint8Array =>
  encodeExtension(oid, false, derOctetString(payload));
const sha256 = (...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash("sha256")
      .update(concatBytes(...parts))
      .digest(),
  );
