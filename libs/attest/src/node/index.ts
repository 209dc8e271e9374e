/** Verification of evidence: signatures on node:crypto, collateral over HTTP. */
export { signatureHolds, verifyQuote } from "./verify-quote.ts";
