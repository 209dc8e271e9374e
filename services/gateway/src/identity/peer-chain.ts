import type { IncomingMessage } from "node:http";
import { TLSSocket, type DetailedPeerCertificate } from "node:tls";

/** More than any chain that could be accepted; what a peer sends beyond it is not looked at. */
const MAX_CERTIFICATES = 6;

/** Certificates in DER that the peer of a request showed, leaf first; empty without a client certificate. */
export type PeerChain = readonly Uint8Array[];

/** The chain of the connection that carries a request. Only the leaf's key is proven by TLS; the chain is for the caller to verify. */
export function peerChainOf(request: IncomingMessage): PeerChain {
  const { socket } = request;
  if (!(socket instanceof TLSSocket)) return [];
  const chain: Uint8Array[] = [];
  // Node's types say this is always a certificate; without one it is an empty object.
  let next: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && chain.length < MAX_CERTIFICATES) {
    chain.push(new Uint8Array(next.raw));
    // A root is its own issuer.
    if (next.issuerCertificate === undefined || next.issuerCertificate.raw.equals(next.raw)) break;
    next = next.issuerCertificate;
  }
  return chain;
}
