/** Judges the certificates that a platform's quoting enclave proves itself with. */
import { utf8Decode } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import { leafOf } from "./certificate.ts";
import { CertificatePool } from "./certificate-pool.ts";
import { checkChain, periodsOf, unexpectedName } from "./chain.ts";
import type { CheckedCollateral } from "./checked-collateral.ts";
import type { QuoteCollateral } from "./collateral.ts";
import { AttestError, reading } from "./errors.ts";
import { judge } from "./judgement.ts";
import { AttestationKeys, type PckChain } from "./pck-chain.ts";
import { readPckExtension } from "./pck-extension.ts";
import type { Quote } from "./quote.ts";

/**
 * The certificates of a quote's PCK chain in DER: the collateral's where it has one.
 * @throws AttestError `collateral-malformed` where neither has one, `certificate-malformed`
 */
export function pckCertificatesOf(
  { certification }: Quote,
  { pckCertificateChain: given }: QuoteCollateral,
): readonly Uint8Array[] {
  if (certification.kind === "pem-leaf" && certificatesIn(certification.pem).length !== 1)
    throw new AttestError(
      "certificate-malformed",
      "quote: certification data of type 4 is the PCK certificate alone, got a chain",
    );
  if (given !== undefined)
    return reading("certificate-malformed", "PCK chain", () => readPem(given, "CERTIFICATE", "PCK chain"));
  if (certification.kind === "pem-chain") return certificatesIn(certification.pem);
  const how =
    certification.kind === "pem-leaf"
      ? "carries its PCK certificate alone"
      : "names its PCK certificate by encrypted PPID only";
  throw new AttestError(
    "collateral-malformed",
    `collateral: the quote ${how}; expected pck_certificate_chain, which is missing`,
  );
}

const certificatesIn = (pem: Uint8Array): readonly Uint8Array[] =>
  reading("certificate-malformed", "PCK chain", () =>
    readPem(utf8Decode(pem, "PCK chain"), "CERTIFICATE", "PCK chain"),
  );

/** Judges a chain against the collateral's anchor and revocation lists. @throws AttestError `certificate-malformed` where it cannot be read */
export const judgePckChain = (certificates: readonly Uint8Array[], collateral: CheckedCollateral): PckChain =>
  reading("certificate-malformed", "PCK chain", () => judgeReadable(certificates, collateral));

function judgeReadable(
  certificates: readonly Uint8Array[],
  { trustAnchor, revocationLists, pool: base, holding }: CheckedCollateral,
): PckChain {
  const pool = new CertificatePool(base);
  const chain = pool.chainOf(certificates);
  const leaf = leafOf(chain);
  const authority = chain[1];
  const context = { anchor: trustAnchor, revocationLists, pool };
  const judgement = judge(
    "pck-chain",
    (signatures) =>
      unexpectedName("pck", leaf, trustAnchor) ??
      (authority === undefined ? undefined : unexpectedName("pckAuthority", authority, trustAnchor)) ??
      checkChain(chain, context, signatures),
    periodsOf(chain, trustAnchor),
  );
  // The authority of the PCK's revocation list is mostly the PCK's own: its signature was checked there.
  const signatures = judgement.signatures.filter((signature) => !holding.has(signature));
  return {
    certificates,
    judgement: { ...judgement, signatures },
    extension: readPckExtension(leaf),
    publicKey: leaf.publicKey,
    attestationKeys: new AttestationKeys(),
  };
}
