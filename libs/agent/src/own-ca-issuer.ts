import { reportDataFor } from "@dstack/attest";
import { spkiDer } from "@dstack/keys";
import { createLeaf, USAGE, type SigningCa } from "@dstack/ratls";
import type { CertificateIssuer, Tee } from "./ports.ts";

export interface OwnCaIssuerOptions {
  /** The app's own CA, which nobody outside has a reason to trust. */
  readonly ca: SigningCa;
  readonly tee: Tee;
  readonly vmConfig: string;
  /** Unix seconds. */
  readonly now: () => number;
}

/** Certificates of an app without a KMS: its own CA signs them, with evidence where asked for. */
export function ownCaIssuer({ ca, tee, vmConfig, now }: OwnCaIssuerOptions): CertificateIssuer {
  return {
    issue: async (key, { subject: commonName, ...config }) => {
      const attestation = await tee.attest(reportDataFor("ratls-cert", spkiDer(key)), vmConfig);
      const leaf = createLeaf({
        ...config,
        commonName,
        issuer: ca,
        publicPoint: key.publicPoint,
        usage: USAGE.appCustom,
        now: now(),
        ...(config.withEvidence ? { attestation } : {}),
      });
      return [leaf.pem, ca.pem];
    },
  };
}
