import { request as plainRequest, type ClientRequest } from "node:http";
import { request as tlsRequest, type RequestOptions } from "node:https";
import { HttpError } from "./errors.ts";
import { tlsSettings } from "./tls-settings.ts";

/** Of what comes before a request, from the look-up of the name to the end of the TLS handshake; as in released versions. */
export const CONNECT_TIMEOUT_MS = 5_000;

/**
 * A request on its way to a server: the one place where a client of ours dials. Whoever does not
 * even finish a handshake answers nothing, so no caller waits for that as for an answer.
 * @returns a request that still has to be ended; it errs with HttpError `not-connected` where no connection comes about
 * @throws HttpError `request-invalid`
 */
export function dial(isTls: boolean, options: RequestOptions): ClientRequest {
  const outgoing = opened(() => (isTls ? tlsRequest({ ...options, ...tlsSettings(options) }) : plainRequest(options)));
  const timer = setTimeout(() => {
    const what = isTls ? "TLS connection" : "connection";
    outgoing.destroy(
      new HttpError("not-connected", `no ${what} within ${CONNECT_TIMEOUT_MS} ms`, {
        facts: { connectTimeoutMs: CONNECT_TIMEOUT_MS },
      }),
    );
  }, CONNECT_TIMEOUT_MS);
  const connected = (): void => clearTimeout(timer);
  outgoing.once("close", connected);
  outgoing.once("socket", (socket) => {
    if (outgoing.reusedSocket) connected();
    else socket.once(isTls ? "secureConnect" : "connect", connected);
  });
  return outgoing;
}

/** Node's text names the header, never what it would have held. */
function opened(open: () => ClientRequest): ClientRequest {
  try {
    return open();
  } catch (cause) {
    throw new HttpError("request-invalid", "the request cannot be sent", { cause });
  }
}
