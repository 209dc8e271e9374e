/**
 * Certificates read together: each distinct one is parsed once, and so is its key and its signature
 * checked once, however many chains it stands in.
 */
import { equalBytes } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import { commonName, ecdsaSignature, p256Point, parseCertificate } from "./certificate.ts";
import type { Certificate } from "./certificate.ts";
import type { SignatureToCheck } from "./judgement.ts";

/** A certificate with what follows from it alone. */
export interface PooledCertificate extends Certificate {
  readonly name: string;
  /** Uncompressed P-256 point, 65 bytes. */
  readonly publicKey: Uint8Array;
}

export class CertificatePool {
  readonly #certificates: PooledCertificate[];
  readonly #signatures: Map<PooledCertificate, SignatureToCheck>;

  /** A pool that knows all of `base` and keeps what it learns to itself. */
  constructor(base?: CertificatePool) {
    this.#certificates = base === undefined ? [] : [...base.#certificates];
    this.#signatures = new Map(base === undefined ? [] : base.#signatures);
  }

  /** Certificates of a PEM text in order. @throws DerError, AttestError `certificate-malformed`, also for keys that are not P-256 */
  chain(pem: string, what: string): PooledCertificate[] {
    return this.chainOf(readPem(pem, "CERTIFICATE", what));
  }

  /** The same of their DER. @throws DerError, AttestError `certificate-malformed` */
  chainOf(certificates: readonly Uint8Array[]): PooledCertificate[] {
    return certificates.map((der) => this.#read(der));
  }

  /** The signature of a certificate under its issuer's key: the same object each time. @throws DerError, AttestError */
  signatureOf(certificate: PooledCertificate, issuerKey: Uint8Array): SignatureToCheck {
    const known = this.#signatures.get(certificate);
    if (known !== undefined && equalBytes(known.publicKey, issuerKey)) return known;
    const signature: SignatureToCheck = {
      what: `certificate "${certificate.name}"`,
      publicKey: issuerKey,
      message: certificate.tbs,
      signature: ecdsaSignature(certificate.signature),
    };
    this.#signatures.set(certificate, signature);
    return signature;
  }

  #read(der: Uint8Array): PooledCertificate {
    const known = this.#certificates.find(({ raw }) => equalBytes(raw, der));
    if (known !== undefined) return known;
    const certificate = parseCertificate(der);
    const pooled = {
      ...certificate,
      name: commonName(certificate.subject),
      publicKey: p256Point(certificate.publicKeyInfo),
    };
    this.#certificates.push(pooled);
    return pooled;
  }
}
