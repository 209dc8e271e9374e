import { plainText } from "@dstack/errors";
import { HttpError } from "./errors.ts";

/** What OpenSSL says of bytes that are no TLS record. Node passes its code on in the text alone. */
const NO_TLS: ReadonlySet<string> = new Set(["wrong version number", "packet length too long", "http request"]);

/** Why a connection failed, in words for whoever asked for it: from the errors that Node's sockets end with. */
export function transportFailure(error: NodeJS.ErrnoException): HttpError {
  if (error instanceof HttpError) return error;
  const facts = error.code === undefined ? {} : { facts: { system: error.code } };
  // Where every address of a name refused, Node's error has no text of its own.
  const text = plainText(error.message) || (error.code ?? "the connection broke off");
  const [, reason] = /^\w+ EPROTO (.*)$/.exec(text) ?? [];
  // Where its first record is read in the same turn, Node passes OpenSSL's word on without a code.
  if (NO_TLS.has(reason ?? text)) return new HttpError("no-tls", "the server speaks no TLS on that port", facts);
  if (reason === undefined) return new HttpError("no-answer", TOLD[text] ?? text, facts);
  return new HttpError("no-answer", `the TLS connection failed: ${reason}`, facts);
}

const TOLD: Readonly<Record<string, string>> = {
  "Client network socket disconnected before secure TLS connection was established":
    "the server ended the connection during the TLS handshake",
};
