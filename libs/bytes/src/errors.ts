import { CodedError, type ErrorTable } from "@dstack/errors";

export const BYTES_ERRORS = {
  "hex-invalid": "not an even number of hex digits",
  "length-wrong": "the value has another number of bytes than its kind",
  "out-of-bounds": "a read or write beyond the end of the bytes",
  "utf8-invalid": "the bytes are no UTF-8 text",
  "json-invalid": "the text is no JSON",
  "json-repeated": "one object of the JSON text says a member twice; readers differ in which they take",
  "json-ill-formed": "the JSON text holds half of a character, which is replaced by another when it is written",
  "size-invalid": "not a size such as 512M or 20G",
  "number-out-of-range": "the number does not fit the integer it must be written as",
} as const satisfies ErrorTable;

export type BytesErrorCode = keyof typeof BYTES_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class BytesError extends CodedError<BytesErrorCode> {}
