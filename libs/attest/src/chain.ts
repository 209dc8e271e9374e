/** The certificate chain rule of DCAP: names, CA flags, dates, revocation; signatures are listed for the caller. */
import { equalBytes } from "@dstack/bytes";
import {
  basicConstraints, commonName, ecdsaSignature, maySignCertificates, OID, p256Point, refuseCritical,
} from "./certificate.ts";
import type { Certificate, RevocationList } from "./certificate.ts";
import { fail, pass } from "./checks.ts";
import type { Outcome } from "./checks.ts";
import type { TrustAnchor } from "./trust-anchor.ts";

/** An ECDSA P-256 SHA-256 signature that the caller must check for `check` to hold. */
export interface SignatureToCheck {
  readonly check: string;
  readonly what: string;
  /** Uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  /** r and s, 64 bytes. */
  readonly signature: Uint8Array;
}

export interface ChainContext {
  readonly anchor: TrustAnchor;
  readonly revocationLists: readonly RevocationList[];
  readonly now: number;
  /** Signatures found on the way go here. */
  readonly signatures: SignatureToCheck[];
}

const MAX_CHAIN = 5;

/**
 * Judges `chain` (leaf first) for the check of that name. A last certificate that repeats the
 * anchor's subject and key is dropped: the anchor is the configured one, not the sent one.
 */
export function checkChain(check: string, sent: readonly Certificate[], context: ChainContext): Outcome {
  const { anchor, revocationLists, now, signatures } = context;
  const chain = withoutRoot(sent, anchor);
  if (chain.length === 0 || chain.length > MAX_CHAIN) return fail(`chain of ${chain.length} certificates below the root, expected 1 to ${MAX_CHAIN}`);
  for (const [index, certificate] of chain.entries()) {
    const name = commonName(certificate.subject);
    const parent = chain[index + 1];
    const issuerName = parent?.subject ?? anchor.subject;
    if (!equalBytes(certificate.issuer, issuerName)) {
      return fail(`"${name}" was issued by "${commonName(certificate.issuer)}", the next certificate is "${commonName(issuerName)}"`);
    }
    if (now < certificate.notBefore || now > certificate.notAfter) return fail(`"${name}" is not valid at ${isoTime(now)}`);
    refuseCritical(certificate.extensions, [OID.keyUsage, OID.basicConstraints], `"${name}"`);
    if (index > 0) {
      const { ca, pathLength } = basicConstraints(certificate);
      if (!ca || !maySignCertificates(certificate)) return fail(`"${name}" is no certificate authority`);
      if (pathLength !== undefined && index - 1 > pathLength) return fail(`"${name}" allows ${pathLength} authorities below it, has ${index - 1}`);
    }
    const list = revocationLists.find((candidate) => equalBytes(candidate.issuer, certificate.issuer));
    if (list === undefined) return fail(`no revocation list of "${commonName(certificate.issuer)}"`);
    if (list.revoked.has(certificate.serial)) return fail(`"${name}" (serial ${certificate.serial}) is revoked`);
    if (certificate.signatureAlgorithm !== OID.ecdsaWithSha256) return fail(`"${name}" is not signed with ECDSA SHA-256`);
    signatures.push({
      check,
      what: `certificate "${name}"`,
      publicKey: parent === undefined ? anchor.publicKey : p256Point(parent.publicKeyInfo),
      message: certificate.tbs,
      signature: ecdsaSignature(certificate.signature),
    });
  }
  return pass(chain.map((certificate) => commonName(certificate.subject)).concat(commonName(anchor.subject)).join(" <- "));
}

/** A revocation list by this issuer and key. */
export function checkRevocationList(
  check: string, list: RevocationList, issuer: Uint8Array, publicKey: Uint8Array, signatures: SignatureToCheck[],
): Outcome {
  const name = commonName(issuer);
  if (!equalBytes(list.issuer, issuer)) return fail(`revocation list of "${commonName(list.issuer)}", expected one of "${name}"`);
  if (list.signatureAlgorithm !== OID.ecdsaWithSha256) return fail("revocation list is not signed with ECDSA SHA-256");
  signatures.push({ check, what: `revocation list of "${name}"`, publicKey, message: list.tbs, signature: ecdsaSignature(list.signature) });
  return pass(`revocation list of "${name}", ${list.revoked.size} entries`);
}

export const isoTime = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");

function withoutRoot(chain: readonly Certificate[], anchor: TrustAnchor): readonly Certificate[] {
  const last = chain.at(-1);
  const isRoot = last !== undefined && equalBytes(last.subject, anchor.subject) && equalBytes(last.issuer, anchor.subject)
    && equalBytes(p256Point(last.publicKeyInfo), anchor.publicKey);
  return isRoot ? chain.slice(0, -1) : chain;
}
