import { ownCaIssuer, type CertificateIssuer, type Tee } from "@dstack/agent";
import { reportDataFor } from "@dstack/attest";
import { pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
import { kms } from "@dstack/proto";
import { attestedTransport, encodeCsrV2, signCsr, type EvidenceVerifier } from "@dstack/ratls";
import { callRpc } from "@dstack/rpc";
import type { AppKeys } from "./app-keys.ts";

export interface CertificateIssuerOptions {
  readonly keys: AppKeys;
  readonly tee: Tee;
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
  const { keys, tee, vmConfig, verifyEvidence, now } = options;
  const { provider } = keys;
  return provider.kind === "kms"
    ? kmsIssuer({ url: provider.url, trustedRoot: keys.caCertificatePem, tee, vmConfig, verifyEvidence })
    : ownCaIssuer({ ca: provider.ca, tee, vmConfig, now });
}

interface KmsIssuerOptions {
  readonly url: string;
  readonly trustedRoot: string;
  readonly tee: Tee;
  readonly vmConfig: string;
  readonly verifyEvidence: EvidenceVerifier;
}

/** The KMS is shown evidence of each key that it certifies. */
function kmsIssuer({ url, trustedRoot, tee, vmConfig, verifyEvidence }: KmsIssuerOptions): CertificateIssuer {
  return {
    issue: async (key, config) => {
      const attestation = await tee.attest(reportDataFor("ratls-cert", spkiDer(key)), vmConfig);
      const transport = attestedTransport({
        baseUrl: url,
        trustedRoots: [trustedRoot],
        peer: { kind: "kms" },
        verifyEvidence,
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
