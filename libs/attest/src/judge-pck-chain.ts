/** Judges the certificates that a platform's quoting enclave proves itself with. */
import { utf8Decode } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import { leafOf } from "./certificate.ts";
import { CertificatePool } from "./certificate-pool.ts";
import { checkChain, periodsOf } from "./chain.ts";
import type { CheckedCollateral } from "./checked-collateral.ts";
import { fail } from "./checks.ts";
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
export const pckCertificatesOf = (quote: Quote, collateral: QuoteCollateral): readonly Uint8Array[] => {
  const pem = pckPemOf(quote, collateral);
  return reading("certificate-malformed", "PCK chain", () => readPem(pem, "CERTIFICATE", "PCK chain"));
};

function pckPemOf(quote: Quote, collateral: QuoteCollateral): string {
  if (collateral.pckCertificateChain !== undefined) return collateral.pckCertificateChain;
  if (quote.certification.kind === "pem-chain") {
    const { pem } = quote.certification;
    return reading("certificate-malformed", "quote", () => utf8Decode(pem, "PCK chain"));
  }
  throw new AttestError(
    "collateral-malformed",
    "collateral: the quote names its PCK certificate by encrypted PPID only; expected pck_certificate_chain, which is missing",
  );
}

/** Judges a chain against the collateral's anchor and revocation lists. @throws AttestError `certificate-malformed` where it cannot be read */
export const judgePckChain = (certificates: readonly Uint8Array[], collateral: CheckedCollateral): PckChain =>
  reading("certificate-malformed", "PCK chain", () => judgeReadable(certificates, collateral));

function judgeReadable(
  certificates: readonly Uint8Array[],
  { trustAnchor, documents, pool: base, holding }: CheckedCollateral,
): PckChain {
  const pool = new CertificatePool(base);
  const chain = pool.chainOf(certificates);
  const leaf = leafOf(chain);
  const context = { anchor: trustAnchor, revocationLists: [documents.rootCrl, documents.pckCrl], pool };
  const judgement = judge(
    "pck-chain",
    (signatures) => {
      if (trustAnchor.kind === "intel" && !leaf.name.includes("SGX PCK Certificate")) {
        return fail(
          `"${leaf.name}" is no PCK certificate, expected "SGX PCK Certificate" in its name`,
          "certificate-unexpected",
        );
      }
      return checkChain(chain, context, signatures);
    },
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
