import { checkServerIdentity, type TLSSocket } from "node:tls";
import { kms } from "@dstack/proto";
import { callRpc, httpTransport, type RpcTransport } from "@dstack/rpc";
import { loadCa, type SigningCa } from "./certificate-builder.ts";
import { RatlsError } from "./errors.ts";
import { checkPeerCertificate, expectedReportData, type EvidenceVerifier, type PeerRule } from "./peer-rule.ts";

export interface AttestedTransportOptions {
  /** e.g. `https://10.0.2.2:9301/prpc`. */
  readonly baseUrl: string;
  /** PEM; the only roots that count. System roots never do. */
  readonly trustedRoots: readonly [string, ...string[]];
  readonly peer: PeerRule;
  /** The name or address that the certificate must be for, where another one is dialled; the URL's host unless given. */
  readonly expectedHost?: string;
  /** Own certificate (chain, leaf first) and key in PEM, where the peer wants to know who calls. */
  readonly identity?: { readonly certificatePem: string; readonly keyPem: string };
  /** Verifies the evidence that a peer's certificate carries. Absence of evidence is the role's matter, not this one's. */
  readonly verifyEvidence?: EvidenceVerifier;
  readonly maxAnswerBytes?: number;
}

/**
 * RPC over TLS to a peer of a known role. Chain, host name and role are checked in the handshake;
 * nothing of the request leaves before they hold.
 */
export function attestedTransport(options: AttestedTransportOptions): RpcTransport {
  requireHttps(options.baseUrl);
  const { expectedHost } = options;
  return httpTransport({
    baseUrl: options.baseUrl,
    tls: {
      ca: [...options.trustedRoots],
      minVersion: "TLSv1.2",
      rejectUnauthorized: true,
      ...(expectedHost === undefined ? {} : { checkServerIdentity: (_host, certificate) => checkServerIdentity(expectedHost, certificate) }),
      ...(options.identity === undefined ? {} : { cert: options.identity.certificatePem, key: options.identity.keyPem }),
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
export async function fetchTempCaUnverified(options: { readonly baseUrl: string; readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<TempCa> {
  requireHttps(options.baseUrl);
  const transport = httpTransport({ baseUrl: options.baseUrl, tls: { rejectUnauthorized: false, minVersion: "TLSv1.2" }, maxAnswerBytes: 1024 * 1024 });
  const answer = await callRpc(transport, kms.KMS.method.getTempCaCert, {}, {
    timeoutMs: options.timeoutMs ?? 60_000,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  return { tempCa: loadCa(answer.tempCaCert, answer.tempCaKey, "temp CA"), caCertificatePem: answer.caCert };
}

async function checkPeer(socket: TLSSocket, options: AttestedTransportOptions): Promise<void> {
  const raw = socket.getPeerX509Certificate()?.raw;
  if (raw === undefined) throw new RatlsError("peer-refused", "peer presented no certificate");
  const extensions = checkPeerCertificate(new Uint8Array(raw), options.peer);
  if (extensions.attestation !== undefined && options.verifyEvidence !== undefined) {
    await options.verifyEvidence(extensions.attestation, expectedReportData(extensions));
  }
}

function requireHttps(url: string): void {
  if (new URL(url).protocol !== "https:") throw new RatlsError("peer-refused", `attested connection needs https, got ${new URL(url).protocol}`);
}
