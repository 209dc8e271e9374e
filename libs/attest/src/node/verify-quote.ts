import { createPublicKey, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { concatBytes, parseHex } from "@dstack/bytes";
import { alreadyChecked, concludeCollateral, planCollateral } from "../checked-collateral.ts";
import type { CheckedCollateral } from "../checked-collateral.ts";
import { guarded } from "../checks.ts";
import type { QuoteCollateral } from "../collateral.ts";
import type { SignatureToCheck } from "../judgement.ts";
import { concludeQuote, planQuote, readQuote, refuseCollateral } from "../quote-plan.ts";
import type { QuoteVerification, VerifyOptions } from "../quote-plan.ts";
import type { TrustAnchor } from "../trust-anchor.ts";

/**
 * Verifies a DCAP quote against its collateral at a given time and trust anchor, signatures included.
 * Synchronous and without I/O; a refusal is a value with every check, never an exception. Where many
 * quotes meet the same collateral, pass what `checkCollateral` made of it.
 */
export function verifyQuote(quote: Uint8Array, collateral: QuoteCollateral, options: VerifyOptions): QuoteVerification {
  const read = readQuote(quote);
  if (!read.ok) return read.refusal;
  const checked = guarded(
    () => alreadyChecked(collateral, options.trustAnchor) ?? checkCollateral(collateral, options.trustAnchor),
  );
  if (!checked.ok) return refuseCollateral(read.quote, checked.outcome);
  const plan = planQuote(read.quote, checked.value, options);
  return concludeQuote(plan, plan.signatures.map(signatureHolds));
}

/**
 * Parses collateral and checks its signatures for this anchor, once. Verdicts are inside: see `checksAt`.
 * @throws AttestError `collateral-malformed`, `certificate-malformed` where a document cannot be read
 */
export function checkCollateral(collateral: QuoteCollateral, trustAnchor: TrustAnchor): CheckedCollateral {
  const plan = planCollateral(collateral, trustAnchor);
  return concludeCollateral(plan, plan.signatures.map(signatureHolds));
}

/** DER of a P-256 SubjectPublicKeyInfo up to the point. */
const P256_PREFIX = parseHex("3059301306072a8648ce3d020106082a8648ce3d030107034200");

/** Keys by the bytes they were made of, as long as somebody holds those. Making one costs a quarter of a verification. */
const keys = new WeakMap<Uint8Array, KeyObject>();

/** ECDSA P-256 over SHA-256, raw r and s. A key that is no point of the curve holds nothing. */
export function signatureHolds({ publicKey, message, signature }: SignatureToCheck): boolean {
  try {
    return verify("sha256", message, { key: keyOf(publicKey), dsaEncoding: "ieee-p1363" }, signature);
  } catch {
    return false;
  }
}

function keyOf(point: Uint8Array): KeyObject {
  const known = keys.get(point);
  if (known !== undefined) return known;
  const key = createPublicKey({ key: Buffer.from(concatBytes(P256_PREFIX, point)), format: "der", type: "spki" });
  keys.set(point, key);
  return key;
}
