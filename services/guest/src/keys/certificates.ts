import { reportDataFor } from "@dstack/attest";
import { pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
import { kms } from "@dstack/proto";
import {
  attestedTransport,
  createLeaf,
  encodeCsrV2,
  signCsr,
  USAGE,
  type CsrConfig,
  type EvidenceVerifier,
} from "@dstack/ratls";
import { callRpc } from "@dstack/rpc";
import type { AppKeys } from "./app-keys.ts";
import type { GuestTee } from "../identity/tee.ts";

export interface CertificateIssuer {
  /** A certificate for `key`, as PEM texts, leaf first. @throws RpcError, RatlsError */
  issue(key: P256Key, config: CsrConfig): Promise<readonly string[]>;
}

export interface CertificateIssuerOptions {
  readonly keys: AppKeys;
  readonly tee: GuestTee;
  readonly vmConfig: string;
  readonly verifyEvidence: EvidenceVerifier;
  /** Unix seconds. */
  readonly now: () => number;
}

const TIMEOUT_MS = 60_000;

/**
 * Certificates for keys of this app: from the KMS, which signs with the app's CA, or by the app's
 * own CA where there is no KMS.
 */
export function certificateIssuer(options: CertificateIssuerOptions): CertificateIssuer {
  const { keys, tee, vmConfig } = options;
  const { provider } = keys;
  return {
    issue: async (key, config) => {
      const attestation = await tee.attest(reportDataFor("ratls-cert", spkiDer(key)), vmConfig);
      if (provider.kind === "none") {
        const { subject: commonName, ...rest } = config;
        const leaf = createLeaf({
          ...rest,
          commonName,
          issuer: provider.ca,
          publicPoint: key.publicPoint,
          usage: USAGE.appCustom,
          now: options.now(),
          ...(config.withEvidence ? { attestation } : {}),
        });
        return [leaf.pem, provider.ca.pem];
      }
      const transport = attestedTransport({
        baseUrl: provider.url,
        trustedRoots: [keys.caCertificatePem],
        peer: { kind: "kms" },
        verifyEvidence: options.verifyEvidence,
      });
      const csr = encodeCsrV2({ publicKeyInfo: spkiDer(key), config, attestation });
      const answer = await callRpc(
        transport,
        kms.KMS.method.signCert,
        { apiVersion: 2, csr, signature: signCsr(csr, key), vmConfig },
        { timeoutMs: TIMEOUT_MS },
      );
      return answer.certificateChain;
    },
  };
}

/** PEM chain and key in the forms that TLS wants. */
export const tlsIdentity = (chain: readonly string[], key: P256Key): { certificatePem: string; keyPem: string } => ({
  certificatePem: chain.map((pem) => (pem.endsWith("\n") ? pem : `${pem}\n`)).join(""),
  keyPem: pkcs8Pem(key),
});
