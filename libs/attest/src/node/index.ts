/** Verification of evidence: signatures on node:crypto, collateral over HTTP. */
export { checkCollateral, signatureHolds, verifyQuote } from "./verify-quote.ts";
export { fixedCollateral } from "./collateral-source.ts";
export type { CollateralSource } from "./collateral-source.ts";
export { CollateralFetcher, PUBLIC_PCCS } from "./collateral-fetcher.ts";
export type { CollateralFetcherOptions } from "./collateral-fetcher.ts";
export { fetchCollateralIssue } from "./collateral-issue.ts";
export type { CollateralIssueOptions } from "./collateral-issue.ts";
export type { TcbIssue } from "./provisioning-client.ts";
export { CollateralFolder } from "./collateral-folder.ts";
export type { StoredCollateral } from "./collateral-folder.ts";
export { collateralKey, keyOfCollateral, platformOf } from "./platform.ts";
export type { Platform } from "./platform.ts";
export { verifyAttestation } from "./verify-attestation.ts";
export type { VerifyAttestationOptions } from "./verify-attestation.ts";
export type { AttestationVerification } from "../attestation-checks.ts";
