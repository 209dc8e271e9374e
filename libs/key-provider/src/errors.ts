import { CodedError, type ErrorTable } from "@dstack/errors";

export const KEY_PROVIDER_ERRORS = {
  "quote-too-long": "the quote has more bytes than a key provider reads",
  "message-invalid": "a message is not of the protocol's form",
  "provider-unreachable": "nothing answers at the key provider's address",
  "provider-silent": "the key provider took the question and gave no whole answer; its own log says why",
  "box-invalid": "the sealed box is not for this key, or was changed",
} as const satisfies ErrorTable;

export type KeyProviderErrorCode = keyof typeof KEY_PROVIDER_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class KeyProviderError extends CodedError<KeyProviderErrorCode> {}
