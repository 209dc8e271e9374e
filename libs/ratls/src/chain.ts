import { createPublicKey, verify, type KeyObject } from "node:crypto";
import { equalBytes } from "@dstack/bytes";
import {
  basicConstraints,
  commonName,
  maySignCertificates,
  parseCertificateChain,
  refuseCritical,
} from "@dstack/attest";
import type { Certificate } from "@dstack/attest";
import { asRefusal } from "@dstack/errors";
import { RatlsError } from "./errors.ts";
import { X509_OID } from "./oids.ts";

const MAX_CHAIN = 4;
const KNOWN_CRITICAL = [
  X509_OID.keyUsage,
  X509_OID.basicConstraints,
  X509_OID.extendedKeyUsage,
  X509_OID.subjectAltName,
];

export interface ChainOptions {
  /** Leaf first, then its issuers in order; the trust anchor may or may not be among them. */
  readonly chain: readonly Certificate[];
  /** The configured roots; only subject, key and path length of these count. */
  readonly roots: readonly Certificate[];
  /** Unix seconds. */
  readonly now: number;
}

/**
 * That the chain leads from its first certificate to one of the roots: names, signatures, CA
 * flags, path lengths, validity. Returns the root.
 * @throws RatlsError `chain-refused` with what failed
 */
export function verifyCertificateChain({ chain, roots, now }: ChainOptions): Certificate {
  for (let depth = 0; depth < chain.length; depth++) {
    if (depth >= MAX_CHAIN) break;
    const certificate = chain[depth]!;
    checkOne(certificate, depth, now);
    const root = roots.find(
      (candidate) => equalBytes(candidate.subject, certificate.issuer) && isSignedBy(certificate, candidate),
    );
    if (root !== undefined) {
      checkAuthority(root, depth);
      return root;
    }
    const parent = chain[depth + 1];
    if (parent === undefined)
      throw refused(`"${label(certificate)}" leads to no trusted root (issuer "${commonName(certificate.issuer)}")`);
    if (!equalBytes(parent.subject, certificate.issuer))
      throw refused(
        `"${label(certificate)}" was issued by "${commonName(certificate.issuer)}", the next certificate is "${label(parent)}"`,
      );
    checkAuthority(parent, depth);
    if (!isSignedBy(certificate, parent)) throw refused(`"${label(certificate)}" is not signed by "${label(parent)}"`);
  }
  throw refused(
    chain.length === 0 ? "no certificate was presented" : `over ${MAX_CHAIN} certificates without a trusted root`,
  );
}

/** Certificates of PEM texts, for `roots`. */
export const parseCertificates = (...pems: readonly string[]): Certificate[] =>
  pems.flatMap((pem) => parseCertificateChain(pem, "certificate"));

function checkOne(certificate: Certificate, depth: number, now: number): void {
  if (certificate.signatureAlgorithm !== X509_OID.ecdsaWithSha256)
    throw refused(`"${label(certificate)}" is not signed with ECDSA and SHA-256`);
  if (now < certificate.notBefore || now > certificate.notAfter)
    throw refused(`"${label(certificate)}" is not valid now (depth ${depth})`);
  asRefusal(
    () => refuseCritical(certificate.extensions, KNOWN_CRITICAL, `"${label(certificate)}"`),
    (cause) => refused(cause.message),
  );
}

/** `below` is how many CA certificates stand between this one and the leaf. */
function checkAuthority(certificate: Certificate, below: number): void {
  const { ca, pathLength } = basicConstraints(certificate);
  if (!ca || !maySignCertificates(certificate)) throw refused(`"${label(certificate)}" is no CA`);
  if (pathLength !== undefined && below > pathLength)
    throw refused(`"${label(certificate)}" allows ${pathLength} CAs below it, found ${below}`);
}

/** Whether the issuer's key made the signature, by ECDSA with SHA-256. Says nothing about names, dates or powers. */
export function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  if (certificate.signatureAlgorithm !== X509_OID.ecdsaWithSha256) return false;
  const key = keyOf(issuer);
  return (
    key?.asymmetricKeyType === "ec" &&
    verify("sha256", certificate.tbs, { key, dsaEncoding: "der" }, certificate.signature)
  );
}

/** Undefined where the certificate, which anybody may have sent, holds no key that OpenSSL knows. */
function keyOf({ publicKeyInfo }: Certificate): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(publicKeyInfo), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

const label = (certificate: Certificate): string => commonName(certificate.subject);
const refused = (text: string): RatlsError => new RatlsError("chain-refused", `certificate chain: ${text}`);
