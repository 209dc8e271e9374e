import type { Socket } from "node:net";
import { TLSSocket, type SecureContext } from "node:tls";
import { errorChain } from "@dstack/errors";

export type Accepted =
  | { readonly kind: "secure"; readonly socket: TLSSocket }
  | { readonly kind: "failed"; readonly reason: string };

/**
 * TLS as the server on a connection whose first bytes were read already; what it offers is the
 * context's, made by `tlsSettings`. Never rejects; a failed socket is destroyed.
 */
export function acceptTls(
  socket: Socket,
  firstBytes: Buffer,
  context: SecureContext,
  options: { readonly alpn: readonly string[]; readonly timeoutMs: number },
): Promise<Accepted> {
  return new Promise((resolve) => {
    socket.unshift(firstBytes);
    const secure = new TLSSocket(socket, {
      isServer: true,
      requestCert: false,
      secureContext: context,
      ...(options.alpn.length === 0 ? {} : { ALPNProtocols: [...options.alpn] }),
    });
    const finish = (result: Accepted): void => {
      clearTimeout(timer);
      secure.off("secure", ready).off("error", failed).off("close", closed);
      if (result.kind === "failed") {
        secure.on("error", () => undefined); // Whatever else goes wrong with it, it is over.
        secure.destroy();
      }
      resolve(result);
    };
    const ready = (): void => finish({ kind: "secure", socket: secure });
    const failed = (error: Error): void => finish({ kind: "failed", reason: errorChain(error) });
    const closed = (): void => finish({ kind: "failed", reason: "the client went away during the handshake" });
    const timer = setTimeout(
      () => finish({ kind: "failed", reason: `TLS handshake took longer than ${options.timeoutMs} ms` }),
      options.timeoutMs,
    );
    secure.on("secure", ready).on("error", failed).on("close", closed);
  });
}
