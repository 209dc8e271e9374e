/** What the benchmark of the KMS and its server process tell each other. */

export interface ClientIdentity {
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface Ready {
  readonly kind: "ready";
  readonly kmsPort: number;
  readonly barePort: number;
  readonly identities: readonly ClientIdentity[];
  /** Body of GetAppKey. */
  readonly body: string;
}

export type Ask =
  | { readonly kind: "collateral"; readonly isCold: boolean }
  | { readonly kind: "usage" }
  | { readonly kind: "stages" }
  | { readonly kind: "stop" };

export interface Usage {
  readonly cpuMs: number;
  readonly rssBytes: number;
}

/** CPU milliseconds of each part of one GetAppKey by itself, and of the cryptography in it that nobody can do without. */
export interface Stages {
  readonly verificationCold: number;
  readonly verificationCached: number;
  /** Wall time: it waits for the auth server. */
  readonly auth: number;
  readonly derivation: number;
  readonly signing: number;
  /** Wall time of one entry by itself, and of one among 64. */
  readonly auditAlone: number;
  readonly auditTogether: number;
  readonly bareVerify: number;
  /** Two P-256 keys from scalars, by OpenSSL. */
  readonly bareDerivation: number;
  /** A secp256k1 key and a signature, by OpenSSL. */
  readonly bareSigning: number;
  /** P-256 verifications of one quote. */
  readonly verifiesCold: number;
  readonly verifiesCached: number;
}
