/** Verification of evidence: signatures on node:crypto, collateral over HTTP. */
export { checkCollateral, signatureHolds, verifyQuote } from "./verify-quote.ts";
export { CollateralFetcher, fixedCollateral } from "./collateral-source.ts";
export type { CollateralFetcherOptions, CollateralSource } from "./collateral-source.ts";
export { verifyAttestation } from "./verify-attestation.ts";
export type { VerifyAttestationOptions } from "./verify-attestation.ts";
export type { AttestationVerification } from "../attestation-checks.ts";
