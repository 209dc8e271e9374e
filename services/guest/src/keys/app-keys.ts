import type { AppRootKey } from "@dstack/agent";
import { utf8, toHex } from "@dstack/bytes";
import type { KeyProvider } from "@dstack/compose";
import { deriveDh, kdf, p256FromScalar, pkcs8Pem, type P256Key } from "@dstack/keys";
import { createCa, type SigningCa } from "@dstack/ratls";

/** The keys of this instance. All of it but the ids and certificates is secret. */
export interface AppKeys extends AppRootKey {
  readonly diskCryptKey: Uint8Array;
  /** X25519 private key; empty where no KMS holds one. */
  readonly envCryptKey: Uint8Array;
  /** App ids that the gateway's certificate may carry, comma-separated hex. */
  readonly gatewayAppId: string;
  /** Root of every certificate that concerns this app. */
  readonly caCertificatePem: string;
  readonly provider: KeySource;
}

export type KeySource =
  | { readonly kind: "kms"; readonly url: string; readonly publicKeyInfo: Uint8Array; readonly tempCa: SigningCa }
  | { readonly kind: "none"; readonly key: P256Key; readonly ca: SigningCa };

/** Identity of the provider: the KMS root CA's key, or nothing. */
export const providerId = (source: KeySource): Uint8Array =>
  source.kind === "kms" ? source.publicKeyInfo : new Uint8Array();

/** Payload of the event `key-provider`. */
export function keyProviderEvent(provider: KeyProvider, id: Uint8Array): Uint8Array {
  return utf8(JSON.stringify({ name: provider === "local" ? "local-sgx" : provider, id: toHex(id) }));
}

/** Keys of an app that asked for no key provider: they live for this boot only. */
export function keysWithoutProvider(seed: Uint8Array, now: number): AppKeys {
  const key = p256FromScalar(kdf(seed, [utf8("app-key")]));
  const ca = createCa({ commonName: "App Root Cert", key, pathLength: 1, now });
  return {
    diskCryptKey: deriveDh(seed, [utf8("app-disk-key")]),
    envCryptKey: new Uint8Array(),
    k256Key: kdf(seed, [utf8("app-k256-key")]),
    k256Signature: new Uint8Array(),
    gatewayAppId: "",
    caCertificatePem: ca.pem,
    provider: { kind: "none", key, ca },
  };
}

/** The file form that tools inside the guest read; secret. */
export function appKeysJson(keys: AppKeys): string {
  const { provider } = keys;
  return JSON.stringify({
    disk_crypt_key: toHex(keys.diskCryptKey),
    env_crypt_key: toHex(keys.envCryptKey),
    k256_key: toHex(keys.k256Key),
    k256_signature: toHex(keys.k256Signature),
    gateway_app_id: keys.gatewayAppId,
    ca_cert: keys.caCertificatePem,
    key_provider:
      provider.kind === "none"
        ? { None: { key: pkcs8Pem(provider.key) } }
        : {
            Kms: {
              url: provider.url,
              pubkey: toHex(provider.publicKeyInfo),
              tmp_ca_key: pkcs8Pem(provider.tempCa.key),
              tmp_ca_cert: provider.tempCa.pem,
            },
          },
  });
}
