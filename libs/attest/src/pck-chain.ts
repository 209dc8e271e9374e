/** The certificates that a platform's quoting enclave proves itself with: PCK leaf, PCK authority, root. */
import { utf8Decode } from "@dstack/bytes";
import { commonName, leafOf, p256Point, parseCertificateChain } from "./certificate.ts";
import { checkChain, periodsOf } from "./chain.ts";
import type { CheckedCollateral } from "./checked-collateral.ts";
import { fail } from "./checks.ts";
import type { QuoteCollateral } from "./collateral.ts";
import { AttestError, reading } from "./errors.ts";
import { judge } from "./judgement.ts";
import type { Judgement } from "./judgement.ts";
import { readPckExtension } from "./pck-extension.ts";
import type { PckExtension } from "./pck-extension.ts";
import type { Quote } from "./quote.ts";

export interface PckChain {
  readonly judgement: Judgement;
  readonly extension: PckExtension;
  /** Of the leaf; uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
}

/**
 * The PEM text that a quote's PCK chain is taken from: the collateral's where it has one.
 * @throws AttestError `collateral-malformed` where neither has one, `certificate-malformed`
 */
export function pckPemOf(quote: Quote, collateral: QuoteCollateral): string {
  if (collateral.pckCertificateChain !== undefined) return collateral.pckCertificateChain;
  if (quote.certification.kind === "pem-chain") {
    const { pem } = quote.certification;
    return reading("certificate-malformed", "quote", () => utf8Decode(pem, "PCK chain"));
  }
  throw new AttestError("collateral-malformed", "collateral: the quote names its PCK certificate by encrypted PPID only; expected pck_certificate_chain, which is missing");
}

/** Judges a chain against the collateral's anchor and revocation lists. @throws AttestError `certificate-malformed` where it cannot be read */
export const judgePckChain = (pem: string, collateral: CheckedCollateral): PckChain =>
  reading("certificate-malformed", "PCK chain", () => judgeReadable(pem, collateral));

function judgeReadable(pem: string, { trustAnchor, documents }: CheckedCollateral): PckChain {
  const chain = parseCertificateChain(pem, "PCK chain");
  const leaf = leafOf(chain);
  const context = { anchor: trustAnchor, revocationLists: [documents.rootCrl, documents.pckCrl] };
  const judgement = judge("pck-chain", (signatures) => {
    const name = commonName(leaf.subject);
    if (trustAnchor.kind === "intel" && !name.includes("SGX PCK Certificate")) {
      return fail(`"${name}" is no PCK certificate, expected "SGX PCK Certificate" in its name`, "certificate-unexpected");
    }
    return checkChain(chain, context, signatures);
  }, periodsOf(chain, trustAnchor));
  return { judgement, extension: readPckExtension(leaf), publicKey: p256Point(leaf.publicKeyInfo) };
}
