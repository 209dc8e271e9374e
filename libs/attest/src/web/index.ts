/** Verification of quotes in a browser: signatures on WebCrypto. */
export { checkCollateral, signatureHolds, verifyQuote } from "./verify-quote.ts";
