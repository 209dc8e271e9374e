/**
 * The certificates of the KMS itself, and the names that are its own.
 * In: keys, a time, evidence where there is some. Out: the two CAs and the listener's certificate, PEM.
 * What an app gets is signed in release/.
 * A name is the KMS's own in every spelling that a TLS client would take for it.
 * Never: a file that is read or written; a usage other than the KMS's own in the listener's certificate.
 */
import type { Attestation } from "@dstack/attest";
import { createCa, createLeaf, USAGE, type IssuedCertificate, type SigningCa } from "@dstack/ratls";
import type { P256Key } from "@dstack/keys";

/** The CA whose key everybody may have: it signs the certificates that carry evidence on first contact. */
export const createTempCa = (key: P256Key, now: number): SigningCa =>
  createCa({ organization: "Dstack", commonName: "Dstack Client Temp CA", key, pathLength: 0, now });

/** The root of everything this KMS issues; its key is also the root of the derived keys. */
export const createRootCa = (key: P256Key, now: number): SigningCa =>
  createCa({ organization: "Dstack", commonName: "Dstack KMS CA", key, pathLength: 1, now });

export interface RpcCertificateOptions {
  readonly rootCa: SigningCa;
  readonly rpcKey: P256Key;
  readonly domain: string;
  /** Unix seconds. */
  readonly now: number;
  /** Evidence of this KMS, bound to `rpcKey`. */
  readonly attestation?: Attestation;
  readonly olderForm?: boolean;
}

/** The certificate of the RPC listener. Its usage is what tells it from an app's certificate. */
export function createRpcCertificate({
  rootCa: issuer,
  rpcKey,
  domain,
  now,
  attestation,
  olderForm = true,
}: RpcCertificateOptions): IssuedCertificate {
  return createLeaf({
    commonName: domain,
    issuer,
    publicPoint: rpcKey.publicPoint,
    altNames: [domain],
    usage: USAGE.kmsRpc,
    now,
    olderForm,
    ...(attestation === undefined ? {} : { attestation }),
  });
}

const RENEW_BEFORE_SECONDS = 365 * 24 * 3600;

/** CA certificates are kept as they are (peers store their text) until their last year. */
export const needsRenewal = (ca: SigningCa, now: number): boolean =>
  ca.certificate.notAfter - now <= RENEW_BEFORE_SECONDS;
