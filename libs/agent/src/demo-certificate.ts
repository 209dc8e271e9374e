import type { Logger } from "@dstack/log";
import { generateP256 } from "@dstack/keys";
import { errorChain } from "@dstack/errors";
import type { CertificateIssuer } from "../keys/certificates.ts";

/** A certificate that shows the app's evidence to whoever asks for `Info`. */
export interface DemoCertificate {
  /** PEM chain, or "" while there is none; asking starts getting one. */
  current(): string;
}

const RETRY_MS = 60_000;

export function demoCertificate(issuer: CertificateIssuer, log: Logger): DemoCertificate {
  let chain = "";
  let nextTry = 0;
  const request = async (): Promise<void> => {
    const issued = await issuer.issue(generateP256(), {
      subject: "demo-cert",
      altNames: [],
      serverAuth: false,
      clientAuth: true,
      withEvidence: true,
      withAppInfo: false,
    });
    chain = issued.join("\n");
  };
  return {
    current: () => {
      if (chain === "" && Date.now() >= nextTry) {
        nextTry = Date.now() + RETRY_MS;
        request().catch((error: unknown) => log.warn({ error: errorChain(error) }, "no demo certificate yet"));
      }
      return chain;
    },
  };
}
