import { X509Certificate } from "node:crypto";
import { DerError, readPem, writePem } from "@dstack/der";
import { RatlsError } from "@dstack/ratls";
import { evidenceRefusal } from "@dstack/verify";

export const pemOf = (der: Uint8Array): string => writePem(der, "CERTIFICATE");

/** What a certificate, or the evidence in it, is refused with; undefined for errors that are about something else. */
export function certificateRefusal(error: unknown): string | undefined {
  return error instanceof RatlsError || error instanceof DerError ? error.message : evidenceRefusal(error);
}

/** The one certificate of a text. @throws DerError where there is none, or another one behind it */
export function derOf(pem: string): Uint8Array {
  const [der, ...more] = readPem(pem, "CERTIFICATE", "certificate");
  if (der === undefined || more.length > 0)
    throw new DerError("value-invalid", `certificate: expected one in PEM, got ${1 + more.length}`);
  return der;
}

/**
 * SubjectPublicKeyInfo of any certificate, also of those of the public web. Node is given text, never DER:
 * it looks for PEM first, and a certificate with a quote has other certificates in PEM inside.
 */
export const publicKeyInfoOf = (pem: string): Uint8Array =>
  new Uint8Array(new X509Certificate(pemOf(derOf(pem))).publicKey.export({ type: "spki", format: "der" }));
