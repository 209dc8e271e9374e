import type { CertificateIssuer } from "@dstack/agent";
import { generateP256, type P256Key } from "@dstack/keys";

/** What the guest shows a gateway. */
export interface ClientCertificate {
  /** PEM texts, leaf first. */
  readonly chain: readonly string[];
  readonly key: P256Key;
  /** Unix seconds. */
  readonly notAfter: number;
  readonly withEvidence: boolean;
}

/** A certificate that still holds, with the evidence itself in it or without. @throws RpcError, RatlsError */
export type ClientCertificates = (withEvidence: boolean) => Promise<ClientCertificate>;

const LIFE_S = 864_000;
const RENEW_BEFORE_S = 600;

/** Keeps the newest certificate and gets another one when it ends soon or is of the other kind. */
export function clientCertificates(issuer: CertificateIssuer, now: () => number): ClientCertificates {
  let newest: ClientCertificate | undefined;
  return async (withEvidence) => {
    const usable =
      newest?.withEvidence === withEvidence && now() + RENEW_BEFORE_S < newest.notAfter ? newest : undefined;
    newest = usable ?? (await request(issuer, now() + LIFE_S, withEvidence));
    return newest;
  };
}

async function request(issuer: CertificateIssuer, notAfter: number, withEvidence: boolean): Promise<ClientCertificate> {
  const key = generateP256();
  const chain = await issuer.issue(key, {
    subject: "dstack-guest-agent",
    altNames: [],
    serverAuth: false,
    clientAuth: true,
    withEvidence,
    withAppInfo: true,
    notAfter,
  });
  return { chain, key, notAfter, withEvidence };
}
