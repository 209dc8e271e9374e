/** Keys that vouch for a webhook's answers and for a policy's history. */
export { answerKey, questionOf, signatureHeaders } from "./signed-answer.ts";
export { publicKeyHex, signingKey } from "./signing-key.ts";
