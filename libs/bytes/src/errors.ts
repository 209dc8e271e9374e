import { CodedError } from "@dstack/errors";

export type BytesErrorCode = "hex-invalid" | "length-wrong" | "out-of-bounds" | "utf8-invalid" | "number-out-of-range";

/** Every refusal of this package. Match on `code`, never on the text. */
export class BytesError extends CodedError<BytesErrorCode> {}
