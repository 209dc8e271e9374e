import type { AppRootKey, Tee } from "@dstack/agent";
import { reportDataFor, type Attestation } from "@dstack/attest";
import { utf8, toHex } from "@dstack/bytes";
import type { KeyProvider } from "@dstack/compose";
import { deriveDh, kdf, p256FromScalar, pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
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
  | { readonly kind: "local"; readonly mrEnclave: Uint8Array; readonly key: P256Key; readonly ca: SigningCa }
  | { readonly kind: "none"; readonly key: P256Key; readonly ca: SigningCa };

/** Keys as they came, and what was shown or made to get them. */
export interface ReceivedKeys {
  readonly keys: AppKeys;
  /** Of the OS image, where the provider names it; else empty. */
  readonly osImageHash: Uint8Array;
  /** Any of this boot. */
  readonly attestation: Attestation;
}

/** Identity of the provider: the KMS root CA's key, the local provider's enclave, or nothing. */
export function providerId(source: KeySource): Uint8Array {
  switch (source.kind) {
    case "kms":
      return source.publicKeyInfo;
    case "local":
      return source.mrEnclave;
    case "none":
      return new Uint8Array();
  }
}

/** Payload of the event `key-provider`. */
export function keyProviderEvent(provider: KeyProvider, id: Uint8Array): Uint8Array {
  return utf8(JSON.stringify({ name: provider === "local" ? "local-sgx" : provider, id: toHex(id) }));
}

/**
 * Everything that follows from a seed of 32 bytes: the app's keys, and a CA of its own whose certificate shows
 * evidence of this boot.
 */
export async function keysFromSeed(
  seed: Uint8Array,
  source: { readonly kind: "none" } | { readonly kind: "local"; readonly mrEnclave: Uint8Array },
  { tee, vmConfig, now }: { readonly tee: Tee; readonly vmConfig: string; readonly now: number },
): Promise<ReceivedKeys> {
  const key = p256FromScalar(kdf(seed, [utf8("app-key")]));
  const attestation = await tee.attest(reportDataFor("ratls-cert", spkiDer(key)), vmConfig);
  const ca = createCa({ commonName: "App Root Cert", key, pathLength: 1, now, attestation });
  const keys: AppKeys = {
    diskCryptKey: deriveDh(seed, [utf8("app-disk-key")]),
    envCryptKey: new Uint8Array(),
    k256Key: kdf(seed, [utf8("app-k256-key")]),
    k256Signature: new Uint8Array(),
    gatewayAppId: "",
    caCertificatePem: ca.pem,
    provider: { ...source, key, ca },
  };
  return { keys, osImageHash: new Uint8Array(), attestation };
}

/** The file form that tools inside the guest read; secret. */
export function appKeysJson(keys: AppKeys): string {
  return JSON.stringify({
    disk_crypt_key: toHex(keys.diskCryptKey),
    env_crypt_key: toHex(keys.envCryptKey),
    k256_key: toHex(keys.k256Key),
    k256_signature: toHex(keys.k256Signature),
    gateway_app_id: keys.gatewayAppId,
    ca_cert: keys.caCertificatePem,
    key_provider: providerJson(keys.provider),
  });
}

function providerJson(provider: KeySource): object {
  switch (provider.kind) {
    case "kms":
      return {
        Kms: {
          url: provider.url,
          pubkey: toHex(provider.publicKeyInfo),
          tmp_ca_key: pkcs8Pem(provider.tempCa.key),
          tmp_ca_cert: provider.tempCa.pem,
        },
      };
    case "local":
      return { Local: { key: pkcs8Pem(provider.key), mr: toHex(provider.mrEnclave) } };
    case "none":
      return { None: { key: pkcs8Pem(provider.key) } };
  }
}
