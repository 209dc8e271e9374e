/** The two messages of the protocol: JSON with byte strings as lists of numbers. */
import { parseJson, utf8, utf8Decode } from "@dstack/bytes";
import { KeyProviderError } from "./errors.ts";

export interface KeyProviderAnswer {
  /** A sealed box for the X25519 key in the quote's report data; 80 bytes for a key of 32. */
  readonly encryptedKey: Uint8Array;
  /** SGX quote whose report data begins with SHA-256 of `encryptedKey`. */
  readonly providerQuote: Uint8Array;
}

export const MAX_QUOTE_BYTES = 1024 * 1024;

/** `{"quote":[…]}`. @throws KeyProviderError `quote-too-long` */
export function encodeQuestion(quote: Uint8Array): Uint8Array {
  if (quote.length > MAX_QUOTE_BYTES)
    throw new KeyProviderError("quote-too-long", `Quote is too long: ${quote.length} bytes, limit ${MAX_QUOTE_BYTES}`);
  return utf8(JSON.stringify({ quote: [...quote] }));
}

/** The quote of a question. @throws KeyProviderError `message-invalid`, `quote-too-long` */
export function decodeQuestion(message: Uint8Array): Uint8Array {
  const quote = bytesOf(membersOf(message, "question"), "quote");
  if (quote.length > MAX_QUOTE_BYTES)
    throw new KeyProviderError("quote-too-long", `Quote is too long: ${quote.length} bytes, limit ${MAX_QUOTE_BYTES}`);
  return quote;
}

/** `{"encrypted_key":[…],"provider_quote":[…]}`. */
export function encodeAnswer({ encryptedKey, providerQuote }: KeyProviderAnswer): Uint8Array {
  return utf8(JSON.stringify({ encrypted_key: [...encryptedKey], provider_quote: [...providerQuote] }));
}

/** @throws KeyProviderError `message-invalid` */
export function decodeAnswer(message: Uint8Array): KeyProviderAnswer {
  const members = membersOf(message, "answer");
  return { encryptedKey: bytesOf(members, "encrypted_key"), providerQuote: bytesOf(members, "provider_quote") };
}

function membersOf(message: Uint8Array, what: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = parseJson(utf8Decode(message, `key provider's ${what}`));
  } catch (cause) {
    throw new KeyProviderError("message-invalid", `key provider's ${what}: not JSON`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new KeyProviderError("message-invalid", `key provider's ${what}: not a JSON object`);
  return value as Readonly<Record<string, unknown>>;
}

function bytesOf(members: Readonly<Record<string, unknown>>, name: string): Uint8Array {
  const list = members[name];
  if (!Array.isArray(list))
    throw new KeyProviderError("message-invalid", `key provider's message: ${name} is not a list of bytes`);
  const bytes = new Uint8Array(list.length);
  for (const [index, item] of list.entries()) {
    if (!Number.isInteger(item) || item < 0 || item > 255)
      throw new KeyProviderError("message-invalid", `key provider's message: ${name}[${index}] is no byte`);
    bytes[index] = item as number;
  }
  return bytes;
}
