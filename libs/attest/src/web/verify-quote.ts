import { alreadyChecked, concludeCollateral, planCollateral } from "../checked-collateral.ts";
import type { CheckedCollateral } from "../checked-collateral.ts";
import { guarded } from "../checks.ts";
import type { Outcome } from "../checks.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { AttestError } from "../errors.ts";
import type { SignatureToCheck } from "../judgement.ts";
import { concludeQuote, planQuote, readQuote, refuseCollateral } from "../quote-plan.ts";
import type { QuoteVerification, VerifyOptions } from "../quote-plan.ts";
import type { TrustAnchor } from "../trust-anchor.ts";

/** As `verifyQuote` of the Node edge, on WebCrypto (which needs a secure context: https or localhost). */
export async function verifyQuote(
  quote: Uint8Array,
  collateral: QuoteCollateral,
  options: VerifyOptions,
): Promise<QuoteVerification> {
  const read = readQuote(quote);
  if (!read.ok) return read.refusal;
  const known = alreadyChecked(collateral, options.trustAnchor);
  const checked =
    known === undefined ? await readCollateral(collateral, options.trustAnchor) : { ok: true as const, value: known };
  if (!checked.ok) return refuseCollateral(read.quote, checked.outcome);
  const plan = planQuote(read.quote, checked.value, options);
  return concludeQuote(plan, await Promise.all(plan.signatures.map(signatureHolds)));
}

/**
 * Parses collateral and checks its signatures for this anchor, once. Verdicts are inside: see `checksAt`.
 * @throws AttestError `collateral-malformed`, `certificate-malformed` where a document cannot be read
 */
export async function checkCollateral(
  collateral: QuoteCollateral,
  trustAnchor: TrustAnchor,
): Promise<CheckedCollateral> {
  const plan = planCollateral(collateral, trustAnchor);
  return concludeCollateral(plan, await Promise.all(plan.signatures.map(signatureHolds)));
}

/**
 * ECDSA P-256 over SHA-256, raw r and s. A key that is no point of the curve holds nothing.
 * @throws AttestError `webcrypto-unavailable` outside a secure context
 */
export async function signatureHolds({ publicKey, message, signature }: SignatureToCheck): Promise<boolean> {
  const subtle: SubtleCrypto | undefined = globalThis.crypto.subtle;
  if (subtle === undefined)
    throw new AttestError(
      "webcrypto-unavailable",
      "WebCrypto is missing: expected a secure context (https or localhost)",
    );
  const key = await subtle
    .importKey("raw", publicKey.slice(), { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"])
    .catch(() => undefined);
  return (
    key !== undefined && subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature.slice(), message.slice())
  );
}

async function readCollateral(
  collateral: QuoteCollateral,
  trustAnchor: TrustAnchor,
): Promise<
  { readonly ok: true; readonly value: CheckedCollateral } | { readonly ok: false; readonly outcome: Outcome }
> {
  const plan = guarded(() => planCollateral(collateral, trustAnchor));
  if (!plan.ok) return plan;
  return {
    ok: true,
    value: concludeCollateral(plan.value, await Promise.all(plan.value.signatures.map(signatureHolds))),
  };
}
