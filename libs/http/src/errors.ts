import { CodedError, type ErrorTable } from "@dstack/errors";

export const HTTP_ERRORS = {
  "no-answer":
    "the server could not be reached, or broke off; the fact `system` has the system's code where there is one",
  "no-tls": "what answers on that port speaks no TLS",
  "not-connected": "there was no connection, TLS handshake included, within its own limit",
  "timed-out": "the whole answer was not there before the deadline",
  "answer-too-large": "the answer has more bytes than the caller reads",
  "redirect-refused": "the server sends the request to a place, or so often, that it is not followed",
  "request-invalid": "the request has a header or an address that cannot be sent",
  aborted: "the caller gave the request up",
} as const satisfies ErrorTable;

export type HttpErrorCode = keyof typeof HTTP_ERRORS;

/** Why there is no answer. Match on `code`, never on the text. */
export class HttpError extends CodedError<HttpErrorCode> {}
