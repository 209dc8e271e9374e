/**
 * The certificate chain rule of DCAP: names, CA flags, revocation; signatures and dates are listed
 * for the caller.
 */
import { equalBytes } from "@dstack/bytes";
import {
  basicConstraints,
  commonName,
  ecdsaSignature,
  maySignCertificates,
  OID,
  refuseCritical,
} from "./certificate.ts";
import type { RevocationList } from "./certificate.ts";
import type { CertificatePool, PooledCertificate } from "./certificate-pool.ts";
import { fail, pass } from "./checks.ts";
import type { Outcome } from "./checks.ts";
import type { Period, SignatureToCheck } from "./judgement.ts";
import type { TrustAnchor } from "./trust-anchor.ts";

/** What chains are judged against. */
export interface ChainContext {
  readonly anchor: TrustAnchor;
  readonly revocationLists: readonly RevocationList[];
  readonly pool: CertificatePool;
}

const MAX_CHAIN = 5;

/**
 * Judges `sent` (leaf first) for all times; `periodsOf` has the dates. A last certificate that repeats
 * the anchor's subject and key is dropped: the anchor is the configured one, not the sent one.
 * @throws DerError, AttestError `certificate-malformed`
 */
export function checkChain(
  sent: readonly PooledCertificate[],
  context: ChainContext,
  signatures: SignatureToCheck[],
): Outcome {
  const { anchor } = context;
  const chain = withoutRoot(sent, anchor);
  if (chain.length === 0 || chain.length > MAX_CHAIN) {
    return fail(`chain of ${chain.length} certificates below the root, expected 1 to ${MAX_CHAIN}`, "chain-length");
  }
  const names = [...chain.map(({ name }) => name), commonName(anchor.subject)];
  return brokenLink(chain, anchor) ?? badCertificate(chain, context, signatures) ?? pass(names.join(" <- "));
}

/** When each certificate of a chain is valid, the anchor's copy left out. */
export function periodsOf(sent: readonly PooledCertificate[], anchor: TrustAnchor): Period[] {
  return withoutRoot(sent, anchor).map(({ name, notBefore, notAfter }) => ({
    kind: "certificate",
    what: `"${name}"`,
    from: notBefore,
    until: notAfter,
  }));
}

/** Whether a revocation list is by this issuer and key, as far as names go; the signature goes into the list. */
export function checkRevocationList(
  list: RevocationList,
  issuer: Uint8Array,
  publicKey: Uint8Array,
  signatures: SignatureToCheck[],
): Outcome {
  const name = commonName(issuer);
  if (!equalBytes(list.issuer, issuer)) {
    return fail(
      `revocation list of "${commonName(list.issuer)}", expected one of "${name}"`,
      "revocation-list-mismatch",
    );
  }
  if (list.signatureAlgorithm !== OID.ecdsaWithSha256) {
    return fail(
      `revocation list of "${name}" is signed with ${list.signatureAlgorithm}, expected ECDSA SHA-256`,
      "signature-algorithm",
    );
  }
  signatures.push({
    what: `revocation list of "${name}"`,
    publicKey,
    message: list.tbs,
    signature: ecdsaSignature(list.signature),
  });
  return pass(`revocation list of "${name}", ${list.revoked.size} entries`);
}

/** Names, flags and lengths: what makes these certificates a chain. */
function brokenLink(chain: readonly PooledCertificate[], anchor: TrustAnchor): Outcome | undefined {
  for (const [index, certificate] of chain.entries()) {
    const { name } = certificate;
    const issuerName = chain[index + 1]?.subject ?? anchor.subject;
    if (!equalBytes(certificate.issuer, issuerName)) {
      return fail(
        `"${name}" was issued by "${commonName(certificate.issuer)}", the next certificate is "${commonName(issuerName)}"`,
        "chain-broken",
      );
    }
    refuseCritical(certificate.extensions, [OID.keyUsage, OID.basicConstraints], `"${name}"`);
    if (index === 0) continue;
    const { ca, pathLength } = basicConstraints(certificate);
    if (!ca || !maySignCertificates(certificate))
      return fail(`"${name}" signs certificates and is no certificate authority`, "chain-not-authority");
    if (pathLength !== undefined && index - 1 > pathLength) {
      return fail(`"${name}" allows ${pathLength} authorities below it, has ${index - 1}`, "chain-path-length");
    }
  }
  return undefined;
}

/** Not revoked by its issuer, and signed by it: the signature is listed. */
function badCertificate(
  chain: readonly PooledCertificate[],
  context: ChainContext,
  signatures: SignatureToCheck[],
): Outcome | undefined {
  const { anchor, revocationLists, pool } = context;
  for (const [index, certificate] of chain.entries()) {
    const { name } = certificate;
    const list = revocationLists.find((candidate) => equalBytes(candidate.issuer, certificate.issuer));
    if (list === undefined)
      return fail(
        `no revocation list of "${commonName(certificate.issuer)}", which issued "${name}"`,
        "revocation-list-missing",
      );
    if (list.revoked.has(certificate.serial))
      return fail(`"${name}" (serial ${certificate.serial}) is revoked`, "certificate-revoked");
    if (certificate.signatureAlgorithm !== OID.ecdsaWithSha256) {
      return fail(
        `"${name}" is signed with ${certificate.signatureAlgorithm}, expected ECDSA SHA-256`,
        "signature-algorithm",
      );
    }
    signatures.push(pool.signatureOf(certificate, chain[index + 1]?.publicKey ?? anchor.publicKey));
  }
  return undefined;
}

function withoutRoot(chain: readonly PooledCertificate[], anchor: TrustAnchor): readonly PooledCertificate[] {
  const last = chain.at(-1);
  const isRoot =
    last !== undefined &&
    equalBytes(last.subject, anchor.subject) &&
    equalBytes(last.issuer, anchor.subject) &&
    equalBytes(last.publicKey, anchor.publicKey);
  return isRoot ? chain.slice(0, -1) : chain;
}
