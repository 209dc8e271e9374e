import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContext, type SecureVersion } from "node:tls";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { tlsSettings } from "@dstack/http";
import { generateP256, pkcs8Pem } from "@dstack/keys";
import { createCa, createLeaf } from "@dstack/ratls";
import type { StaticCertificate } from "../config/gateway-config.ts";
import { GatewayError } from "../errors.ts";

export interface ServedCertificate {
  readonly context: SecureContext;
  readonly leaf: X509Certificate;
  /** False for the one that the gateway made up because there is no real one. */
  readonly fromFiles: boolean;
}

export interface CertificateOptions {
  readonly source: StaticCertificate | undefined;
  readonly tlsVersions: readonly ("1.2" | "1.3")[];
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/**
 * The proxy's certificate by base domain. A new one replaces the old only as a whole and only
 * when it is good: readable, unexpired, and with the key that belongs to it.
 */
export class Certificates {
  readonly #options: CertificateOptions;
  #served: ServedCertificate | undefined;
  #fingerprint = "";

  constructor(options: CertificateOptions) {
    this.#options = options;
  }

  isBaseDomain(domain: string): boolean {
    return domain === this.#options.source?.baseDomain;
  }

  /** The certificate for names directly under the domain. */
  forDomain(domain: string): ServedCertificate | undefined {
    return this.isBaseDomain(domain) ? this.#served : undefined;
  }

  get current(): ServedCertificate | undefined {
    return this.#served;
  }

  /**
   * Reads the files when they changed. What cannot be served is refused with a warning and what
   * is served stays; at the first time a self-signed certificate takes its place.
   * @returns whether another certificate is served now
   */
  async reload(): Promise<boolean> {
    const { source, log } = this.#options;
    if (source === undefined) return false;
    try {
      const [certChain, key] = await Promise.all([readFile(source.certChain), readFile(source.certKey)]);
      const fingerprint = createHash("sha256").update(certChain).update("\0").update(key).digest("hex");
      if (fingerprint === this.#fingerprint) return false;
      this.#fingerprint = fingerprint;
      this.#served = this.#check(certChain.toString("latin1"), key.toString("latin1"), source.baseDomain);
      log.info({ domain: source.baseDomain, expires: this.#served.leaf.validTo }, "proxy certificate loaded");
      return true;
    } catch (error) {
      if (this.#served !== undefined) {
        log.error(
          { domain: source.baseDomain, error: errorChain(error) },
          "proxy certificate is not usable, the one in service stays",
        );
        return false;
      }
      log.warn(
        { domain: source.baseDomain, error: errorChain(error) },
        "proxy certificate is not usable, a self-signed one serves until it is",
      );
      this.#served = this.#selfSigned(source.baseDomain);
      return true;
    }
  }

  #check(certChain: string, key: string, domain: string): ServedCertificate {
    try {
      const leaf = new X509Certificate(certChain);
      if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error("the key is not the certificate's");
      if (leaf.validToDate.getTime() <= this.#options.now()) throw new Error(`it expired at ${leaf.validTo}`);
      if (leaf.checkHost(`any.${domain}`) === undefined)
        this.#options.log.warn(
          { domain, names: leaf.subjectAltName },
          `proxy certificate does not cover *.${domain}: clients will refuse it`,
        );
      return { context: this.#context(certChain, key), leaf, fromFiles: true };
    } catch (cause) {
      throw new GatewayError("certificate-unusable", `certificate for *.${domain}: ${errorChain(cause)}`, {
        cause,
      });
    }
  }

  #selfSigned(domain: string): ServedCertificate {
    const now = Math.floor(this.#options.now() / 1_000);
    const issuer = createCa({ commonName: `dstack gateway ${domain}`, key: generateP256(), pathLength: 0, now });
    const key = generateP256();
    const { pem } = createLeaf({
      issuer,
      commonName: `*.${domain}`,
      publicPoint: key.publicPoint,
      altNames: [`*.${domain}`],
      serverAuth: true,
      now,
    });
    return {
      context: this.#context(`${pem}\n${issuer.pem}`, pkcs8Pem(key)),
      leaf: new X509Certificate(pem),
      fromFiles: false,
    };
  }

  #context(cert: string, key: string): SecureContext {
    const versions = this.#options.tlsVersions.map((version): SecureVersion => `TLSv${version}`).sort();
    return createSecureContext(
      tlsSettings({ cert, key, minVersion: versions[0] ?? "TLSv1.2", maxVersion: versions.at(-1) ?? "TLSv1.3" }),
    );
  }
}
