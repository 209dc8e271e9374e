/** Object identifiers of the dstack arc; the value inside X.509's OCTET STRING is one more OCTET STRING. */
export const DSTACK_OID = {
  quote: "1.3.6.1.4.1.62397.1.1",
  eventLog: "1.3.6.1.4.1.62397.1.2",
  appId: "1.3.6.1.4.1.62397.1.3",
  usage: "1.3.6.1.4.1.62397.1.4",
  attestation: "1.3.6.1.4.1.62397.1.8",
  appInfo: "1.3.6.1.4.1.62397.1.9",
} as const;

export const X509_OID = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  organizationName: "2.5.4.10",
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** What a certificate of the platform is for. */
export const USAGE = { kmsRpc: "kms:rpc", appCa: "app:ca", appCustom: "app:custom" } as const;
