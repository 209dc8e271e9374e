/** The local key provider's protocol: what is said, what is sealed and what it is derived from. For both ends. */
export { KeyProviderError } from "./errors.ts";
export type { KeyProviderErrorCode } from "./errors.ts";
export { askKeyProvider } from "./ask-key-provider.ts";
export type { KeyProviderAddress } from "./ask-key-provider.ts";
export { deriveProviderKey } from "./derive-provider-key.ts";
export { readFrame, writeFrame } from "./frame.ts";
export { MAX_QUOTE_BYTES, decodeAnswer, decodeQuestion, encodeAnswer, encodeQuestion } from "./messages.ts";
export type { KeyProviderAnswer } from "./messages.ts";
export { openSealedBox, sealBox } from "./libsodium-box.ts";
