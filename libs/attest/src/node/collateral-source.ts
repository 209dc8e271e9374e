import type { QuoteCollateral } from "../collateral.ts";
import type { Quote } from "../quote.ts";

/** Where verification takes collateral from. */
export interface CollateralSource {
  /** @throws AttestError `collateral-unavailable`, `collateral-malformed`, `collateral-rejected`, `certificate-malformed` */
  collateralFor(quote: Quote, signal?: AbortSignal): Promise<QuoteCollateral>;
}

/** Always this collateral: for tests and for documents at hand. */
export function fixedCollateral(collateral: QuoteCollateral): CollateralSource {
  return { collateralFor: () => Promise.resolve(collateral) };
}
