import { createPublicKey, verify } from "node:crypto";
import { concatBytes, parseHex } from "@dstack/bytes";
import type { SignatureToCheck } from "../chain.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { concludeQuote, planQuoteVerification } from "../quote-plan.ts";
import type { QuoteVerification, VerifyOptions } from "../quote-plan.ts";

/**
 * Verifies a DCAP quote against its collateral at a given time and trust anchor, signatures included.
 * Synchronous and without I/O; a refusal is a value with every check, never an exception.
 */
export function verifyQuote(quote: Uint8Array, collateral: QuoteCollateral, options: VerifyOptions): QuoteVerification {
  const plan = planQuoteVerification(quote, collateral, options);
  return concludeQuote(plan, plan.signatures.map(signatureHolds));
}

/** DER of a P-256 SubjectPublicKeyInfo up to the point. */
const P256_PREFIX = parseHex("3059301306072a8648ce3d020106082a8648ce3d030107034200");

/** ECDSA P-256 over SHA-256, raw r and s. A key that is no point of the curve holds nothing. */
export function signatureHolds({ publicKey, message, signature }: SignatureToCheck): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(concatBytes(P256_PREFIX, publicKey)), format: "der", type: "spki" });
    return verify("sha256", message, { key, dsaEncoding: "ieee-p1363" }, signature);
  } catch {
    return false;
  }
}
