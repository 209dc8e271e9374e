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

/** A revocation list and the key that it must be signed with: it counts for what that key signed. */
export interface KeyedRevocationList {
  readonly list: RevocationList;
  /** Uncompressed point, 65 bytes. */
  readonly issuerKey: Uint8Array;
}

/** What chains are judged against. */
export interface ChainContext {
  readonly anchor: TrustAnchor;
  readonly revocationLists: readonly KeyedRevocationList[];
  readonly pool: CertificatePool;
}

const MAX_CHAIN = 5;

/**
 * Judges `sent` (leaf first) for all times; `periodsOf` has the dates. A last certificate that repeats
 * the anchor's subject and key is dropped: the anchor is the configured one, not the sent one. `leaf` says
 * what the first may be: what signs quotes and documents is no authority, or it could make others that do.
 * @throws DerError, AttestError `certificate-malformed`
 */
export function checkChain(
  sent: readonly PooledCertificate[],
  context: ChainContext,
  signatures: SignatureToCheck[],
  leaf: "signer" | "authority" = "signer",
): Outcome {
  const { anchor } = context;
  const chain = withoutRoot(sent, anchor);
  if (chain.length === 0 || chain.length > MAX_CHAIN) {
    return fail(`chain of ${chain.length} certificates below the root, expected 1 to ${MAX_CHAIN}`, "chain-length");
  }
  const names = [...chain.map(({ name }) => name), commonName(anchor.subject)];
  return brokenLink(chain, anchor, leaf) ?? badCertificate(chain, context, signatures) ?? pass(names.join(" <- "));
}

/**
 * Who signs what below Intel's root, which more authorities may stand under. The names of other roots'
 * certificates are their own matter.
 */
const ROLES = {
  pck: { name: /SGX PCK Certificate/, what: "PCK certificate" },
  pckAuthority: { name: /SGX PCK (?:Processor|Platform) CA/, what: "authority of PCK certificates" },
  documentSigner: { name: /SGX TCB Signing/, what: "signer of TCB info and QE identity" },
} as const;

/** The refusal of a certificate below Intel's root whose name is not that of its role. */
export function unexpectedName(
  role: keyof typeof ROLES,
  { name }: PooledCertificate,
  { kind }: TrustAnchor,
): Outcome | undefined {
  if (kind !== "intel" || ROLES[role].name.test(name)) return undefined;
  return fail(`"${name}" is not Intel's ${ROLES[role].what} by its name`, "certificate-unexpected");
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
function brokenLink(
  chain: readonly PooledCertificate[],
  anchor: TrustAnchor,
  leaf: "signer" | "authority",
): Outcome | undefined {
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
    const { ca, pathLength } = basicConstraints(certificate);
    if (index === 0 && leaf === "signer") {
      if (ca || maySignCertificates(certificate))
        return fail(
          `"${name}" is a certificate authority; what signs a quote or a document is none`,
          "certificate-unexpected",
        );
      continue;
    }
    if (!ca || !maySignCertificates(certificate))
      return fail(`"${name}" is no certificate authority, and stands for one`, "chain-not-authority");
    const below = leaf === "signer" ? index - 1 : index;
    if (pathLength !== undefined && below > pathLength) {
      return fail(`"${name}" allows ${pathLength} authorities below it, has ${below}`, "chain-path-length");
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
    const issuerKey = chain[index + 1]?.publicKey ?? anchor.publicKey;
    const found = revocationLists.find(({ list }) => equalBytes(list.issuer, certificate.issuer));
    if (found === undefined)
      return fail(
        `no revocation list of "${commonName(certificate.issuer)}", which issued "${name}"`,
        "revocation-list-missing",
      );
    // Of two authorities of one name each has a list of its own.
    if (!equalBytes(found.issuerKey, issuerKey))
      return fail(
        `the revocation list of "${commonName(certificate.issuer)}" is by another key than the one that issued "${name}"`,
        "revocation-list-mismatch",
      );
    if (found.list.revoked.has(certificate.serial))
      return fail(`"${name}" (serial ${certificate.serial}) is revoked`, "certificate-revoked");
    if (certificate.signatureAlgorithm !== OID.ecdsaWithSha256) {
      return fail(
        `"${name}" is signed with ${certificate.signatureAlgorithm}, expected ECDSA SHA-256`,
        "signature-algorithm",
      );
    }
    signatures.push(pool.signatureOf(certificate, issuerKey));
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
