import { BytesError } from "@dstack/bytes";
import { DerError } from "@dstack/der";
import type { Attestation } from "../attestation.ts";
import { checkAttestation, refusedAttestation } from "../attestation-checks.ts";
import type { AttestationCheckOptions, AttestationVerification } from "../attestation-checks.ts";
import { fail, guarded } from "../checks.ts";
import type { Outcome } from "../checks.ts";
import { AttestError } from "../errors.ts";
import { parseQuote } from "../quote.ts";
import type { VerifyOptions } from "../quote-plan.ts";
import type { CollateralSource } from "./collateral-source.ts";
import { verifyQuote } from "./verify-quote.ts";

export interface VerifyAttestationOptions extends VerifyOptions, AttestationCheckOptions {
  readonly collateralSource: CollateralSource;
  readonly signal?: AbortSignal;
}

/**
 * Verifies an attestation object: quote, policy, event replay, report data, and the app's identity in it.
 * The OS image is not compared here: that takes its measurements (see `@dstack/measure`).
 * A refusal is a value; only broken invariants throw.
 */
export async function verifyAttestation(
  attestation: Attestation,
  options: VerifyAttestationOptions,
): Promise<AttestationVerification> {
  const quoteBytes = attestation.platform.quote;
  const parsed = guarded(() => parseQuote(quoteBytes));
  if (!parsed.ok) return refusedAttestation([{ name: "quote-format", ...parsed.outcome }]);
  const collateral = await fetched(() => options.collateralSource.collateralFor(parsed.value, options.signal));
  if (!collateral.ok) return refusedAttestation([{ name: "collateral", ...collateral.outcome }]);
  return checkAttestation(attestation, verifyQuote(quoteBytes, collateral.value, options), options);
}

async function fetched<T>(
  read: () => Promise<T>,
): Promise<{ readonly ok: true; readonly value: T } | { readonly ok: false; readonly outcome: Outcome }> {
  try {
    return { ok: true, value: await read() };
  } catch (error) {
    if (error instanceof AttestError || error instanceof DerError || error instanceof BytesError)
      return { ok: false, outcome: fail(error.message, error.code) };
    throw error;
  }
}
