import { checkServerIdentity, type TLSSocket } from "node:tls";
import { kms } from "@dstack/proto";
import { callRpc, httpTransport, type RpcTransport } from "@dstack/rpc";
import { loadCa, type SigningCa } from "./certificate-builder.ts";
import { RatlsError } from "./errors.ts";
import {
  checkPeerCertificate,
  type AttestedPeer,
  type EvidenceVerifier,
  type KmsPeer,
  type PeerRule,
} from "./peer-rule.ts";
import { checkEvidence, requirePeerRule } from "./verify-peer.ts";

interface CommonOptions {
  /** e.g. `https://10.0.2.2:9301/prpc`. */
  readonly baseUrl: string;
  /** The name or address that the certificate must be for, where another one is dialled; the URL's host unless given. */
  readonly expectedHost?: string;
  /** Own certificate (chain, leaf first) and key in PEM, where the peer wants to know who calls. */
  readonly identity?: { readonly certificatePem: string; readonly keyPem: string };
  readonly maxAnswerBytes?: number;
}

interface ByRoots extends CommonOptions {
  /** PEM; the only roots that count. System roots never do. */
  readonly trustedRoots: readonly [string, ...string[]];
  readonly peer: PeerRule;
  /** Verifies the evidence that a peer's certificate carries. Absence of evidence is the role's matter, not this one's. */
  readonly verifyEvidence?: EvidenceVerifier;
}

/** No root is known yet: the certificate may be anybody's, but its evidence must hold and be bound to its key. */
interface ByEvidence extends CommonOptions {
  readonly trustedRoots: "evidence-only";
  readonly peer: KmsPeer | AttestedPeer;
  readonly verifyEvidence: EvidenceVerifier;
}

export type AttestedTransportOptions = ByRoots | ByEvidence;

/**
 * RPC over TLS to a peer of a known role. Chain, host name and role, or the evidence where there
 * is no chain to check, are checked in the handshake; nothing of the request leaves before they hold.
 * @throws RatlsError `rule-missing`, `peer-refused` for a URL without TLS
 */
export function attestedTransport(options: AttestedTransportOptions): RpcTransport {
  requireHttps(options.baseUrl);
  requirePeerRule(options.peer, options.trustedRoots, options.verifyEvidence);
  const { expectedHost, trustedRoots } = options;
  return httpTransport({
    baseUrl: options.baseUrl,
    tls: {
      ...(trustedRoots === "evidence-only"
        ? { rejectUnauthorized: false }
        : { ca: [...trustedRoots], rejectUnauthorized: true }),
      ...(expectedHost === undefined
        ? {}
        : { checkServerIdentity: (_host, certificate) => checkServerIdentity(expectedHost, certificate) }),
      ...(options.identity === undefined
        ? {}
        : { cert: options.identity.certificatePem, key: options.identity.keyPem }),
    },
    checkPeer: (socket) => checkPeer(socket, options),
    ...(options.maxAnswerBytes === undefined ? {} : { maxAnswerBytes: options.maxAnswerBytes }),
  });
}

/** What a KMS hands to anybody: the CA for first contact, and the root that later connections must lead to. */
export interface TempCa {
  readonly tempCa: SigningCa;
  /** PEM text of the root CA, as sent. */
  readonly caCertificatePem: string;
}

/**
 * First contact with a KMS. Nothing says who answers, so nothing secret is sent, and the answer
 * must not be trusted beyond what a key-provider pin or a verifier later confirms. This is the
 * one call without a peer rule.
 * @throws RpcError, RatlsError `key-mismatch` where the answer's parts do not belong together
 */
export async function fetchTempCaUnverified(options: {
  readonly baseUrl: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}): Promise<TempCa> {
  requireHttps(options.baseUrl);
  const transport = httpTransport({
    baseUrl: options.baseUrl,
    tls: { rejectUnauthorized: false },
    maxAnswerBytes: 1024 * 1024,
  });
  const answer = await callRpc(
    transport,
    kms.KMS.method.getTempCaCert,
    {},
    {
      timeoutMs: options.timeoutMs ?? 60_000,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    },
  );
  return { tempCa: loadCa(answer.tempCaCert, answer.tempCaKey, "temp CA"), caCertificatePem: answer.caCert };
}

async function checkPeer(socket: TLSSocket, options: AttestedTransportOptions): Promise<void> {
  const raw = socket.getPeerX509Certificate()?.raw;
  if (raw === undefined) throw new RatlsError("peer-refused", "peer presented no certificate");
  const extensions = checkPeerCertificate(new Uint8Array(raw), options.peer);
  await checkEvidence(extensions, options.trustedRoots, options.verifyEvidence);
}

function requireHttps(url: string): void {
  if (new URL(url).protocol !== "https:")
    throw new RatlsError("peer-refused", `attested connection needs https, got ${new URL(url).protocol}`);
}
