import { join } from "node:path";
import { writeSecret } from "@dstack/files";
import { spkiDer } from "@dstack/keys";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { type HttpServer } from "@dstack/rpc";
import { KmsError } from "../errors.ts";
import type { KeyStore } from "../keys/key-store.ts";
import type { SelfAttestation } from "./self-attestation.ts";
import { createRpcCertificate } from "../certificates/kms-certificates.ts";

export interface AttestedCertificateOptions {
  readonly keyFolder: string;
  readonly olderForm: boolean;
  readonly keys: KeyStore;
  readonly self: SelfAttestation;
  readonly clock: { now(): number };
  readonly log: Logger;
}

/** A quote ages: peers judge the platform by what it was when it was made. */
const REFRESH_MS = 6 * 3_600_000;

/**
 * The certificate with which the listener starts. @throws KmsError `agent-unavailable`: never without evidence
 */
export async function firstAttestedCertificate(options: AttestedCertificateOptions): Promise<string> {
  try {
    return await issueAttestedCertificate(options);
  } catch (cause) {
    if (!(cause instanceof KmsError)) throw cause;
    throw new KmsError(
      cause.code,
      "Failed to reissue the attested KMS RPC certificate; refusing to start with a potentially unattested certificate",
      { cause },
    );
  }
}

/** Renews the evidence while the listener serves; one that cannot be renewed stays. Returns how to stop. */
export function refreshAttestedCertificate(
  server: Pick<HttpServer, "setSecureContext">,
  options: AttestedCertificateOptions,
): () => void {
  const timer = setInterval(() => {
    issueAttestedCertificate(options)
      .then((cert) => server.setSecureContext({ key: options.keys.rpcKeyPem, cert }))
      .catch((error: unknown) =>
        options.log.warn({ error: errorChain(error) }, "the RPC certificate keeps its older evidence"),
      );
  }, REFRESH_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** A certificate for the RPC key with evidence for that key in it, written to `rpc.crt`. Its PEM. */
async function issueAttestedCertificate(options: AttestedCertificateOptions): Promise<string> {
  const { keyFolder, olderForm, keys, self, clock } = options;
  const { rootCa, rpcKey, domain } = keys;
  const attestation = await self.attestKey(spkiDer(rpcKey));
  const now = Math.floor(clock.now() / 1000);
  const { pem } = createRpcCertificate({ rootCa, rpcKey, domain, now, attestation, olderForm });
  await writeSecret(join(keyFolder, "rpc.crt"), pem);
  return pem;
}
