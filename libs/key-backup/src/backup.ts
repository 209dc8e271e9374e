/**
 * The backup file, JSON. A fresh key encrypts the root keys (AES-256-GCM, nonce || ciphertext ||
 * tag); that key is split so that `threshold` of the shares give it back; each share is sealed to
 * one operator. `share_hash` tells a wrong share by itself: a share is as random as the key, so its
 * hash says nothing about it. The root CA key signs all of it (ECDSA P-256, SHA-256, r || s).
 */
import { createHash, sign, verify } from "node:crypto";
import { concatBytes, parseHex, toHex, u32be, utf8 } from "@dstack/bytes";
import { KeysError, pointFromSpki, privateKeyObject, publicKeyObject, type P256Key } from "@dstack/keys";
import { z } from "zod";
import { KeyBackupError } from "./errors.ts";
import { hexOf, jsonFile, parseJsonFile } from "./json-file.ts";

export interface BackupHeader {
  /** 16 random bytes, hex: two backups of the same minute are two. */
  readonly id: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** SubjectPublicKeyInfo of the root CA key, 91 bytes. */
  readonly rootCaPublicKey: Uint8Array;
  /** Compressed, 33 bytes. */
  readonly rootK256PublicKey: Uint8Array;
  /** Shares that give the keys back. */
  readonly threshold: number;
  /** X25519 public keys, in the order of the shares. */
  readonly operators: readonly Uint8Array[];
}

export interface SealedShare {
  /** SHA-256 of the share. */
  readonly hash: Uint8Array;
  readonly sealed: Uint8Array;
}

export interface Backup {
  readonly header: BackupHeader;
  /** One for each operator, in the same order. */
  readonly shares: readonly SealedShare[];
  readonly sealedKeys: Uint8Array;
}

export const MAX_OPERATORS = 32;
export const MAX_BACKUP_BYTES = 64 * 1024;

const FORMAT = "dstack-kms-backup";
/** The first byte differs from that of everything else that this key signs, which is DER. */
const SIGNATURE_DOMAIN = utf8("dstack-kms-backup-v1\0");
const HEADER_DOMAIN = utf8("dstack-kms-backup-header-v1\0");
/** Three scalars, nonce and tag. */
const SEALED_KEYS_BYTES = 12 + 96 + 16;
/** A share is one byte longer than the key: its place. */
const SEALED_SHARE_BYTES = 48 + 33;

const schema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(1),
  id: hexOf(16),
  created: z.iso.datetime({ precision: 3 }),
  root_ca_public_key: hexOf(91),
  root_k256_public_key: hexOf(33),
  threshold: z.int().min(2).max(MAX_OPERATORS),
  operators: z
    .array(z.strictObject({ public_key: hexOf(32), share_hash: hexOf(32), sealed_share: hexOf(SEALED_SHARE_BYTES) }))
    .min(2)
    .max(MAX_OPERATORS),
  sealed_keys: hexOf(SEALED_KEYS_BYTES),
  signature: hexOf(64),
});
type BackupJson = z.output<typeof schema>;

/** Binds every sealed part to the whole it belongs to. 32 bytes. */
export function headerHash(header: BackupHeader): Uint8Array {
  const { id, created, rootCaPublicKey, rootK256PublicKey, threshold, operators } = header;
  const text = [
    id,
    created,
    toHex(rootCaPublicKey),
    toHex(rootK256PublicKey),
    String(threshold),
    ...operators.map(toHex),
  ].map(utf8);
  return sha256(concatBytes(HEADER_DOMAIN, ...text.flatMap((part) => [u32be(part.length), part])));
}

/** Which backup a session or a share belongs to: SHA-256 of the file, hex. */
export const backupHash = (bytes: Uint8Array): string => toHex(sha256(bytes));
export const shareHash = (share: Uint8Array): Uint8Array => sha256(share);

/** Signs and writes. @throws KeyBackupError `operators-invalid` */
export function encodeBackup(backup: Backup, rootCa: P256Key): Uint8Array {
  const unsigned = toJson(backup);
  const signature = sign("sha256", signedBytes(unsigned), { key: privateKeyObject(rootCa), dsaEncoding: "ieee-p1363" });
  const bytes = jsonFile({ ...unsigned, signature: toHex(signature) });
  decodeBackup(bytes);
  return bytes;
}

/**
 * Reads a backup and checks that whoever holds the root CA key named in it has made it. Whose key
 * that is the caller has to know: compare `rootCaPublicKey`.
 * @throws KeyBackupError `file-malformed`, `operators-invalid`, `backup-forged`
 */
export function decodeBackup(bytes: Uint8Array): Backup {
  const json = parseJsonFile(bytes, { what: "backup", maxBytes: MAX_BACKUP_BYTES, schema, rebuild: ordered });
  const { signature, ...unsigned } = json;
  const keys = json.operators.map(({ public_key }) => public_key);
  if (new Set(keys).size !== keys.length)
    throw new KeyBackupError(
      "operators-invalid",
      "backup: an operator's key occurs twice, so one person would hold two shares",
    );
  if (json.threshold > keys.length)
    throw new KeyBackupError(
      "operators-invalid",
      `backup: ${json.threshold} shares are needed and there are ${keys.length}`,
    );
  const spki = parseHex(json.root_ca_public_key);
  if (!isSignedBy(spki, signedBytes(unsigned), parseHex(signature))) {
    throw new KeyBackupError(
      "backup-forged",
      "backup: the signature is not that of the root CA key named in it; the file was changed",
    );
  }
  return {
    header: {
      id: json.id,
      created: json.created,
      threshold: json.threshold,
      rootCaPublicKey: spki,
      rootK256PublicKey: parseHex(json.root_k256_public_key),
      operators: keys.map((key) => parseHex(key)),
    },
    shares: json.operators.map(({ share_hash, sealed_share }) => ({
      hash: parseHex(share_hash),
      sealed: parseHex(sealed_share),
    })),
    sealedKeys: parseHex(json.sealed_keys),
  };
}

function toJson({ header, shares, sealedKeys }: Backup): Omit<BackupJson, "signature"> {
  return {
    format: FORMAT,
    version: 1,
    id: header.id,
    created: header.created,
    root_ca_public_key: toHex(header.rootCaPublicKey),
    root_k256_public_key: toHex(header.rootK256PublicKey),
    threshold: header.threshold,
    operators: header.operators.map((key, index) => ({
      public_key: toHex(key),
      share_hash: toHex(shares[index]?.hash ?? new Uint8Array()),
      sealed_share: toHex(shares[index]?.sealed ?? new Uint8Array()),
    })),
    sealed_keys: toHex(sealedKeys),
  };
}

function ordered({
  format,
  version,
  id,
  created,
  root_ca_public_key,
  root_k256_public_key,
  threshold,
  operators,
  sealed_keys,
  signature,
}: BackupJson): BackupJson {
  return {
    format,
    version,
    id,
    created,
    root_ca_public_key,
    root_k256_public_key,
    threshold,
    operators: operators.map(({ public_key, share_hash, sealed_share }) => ({ public_key, share_hash, sealed_share })),
    sealed_keys,
    signature,
  };
}

const signedBytes = (unsigned: Omit<BackupJson, "signature">): Uint8Array =>
  concatBytes(SIGNATURE_DOMAIN, jsonFile(unsigned));

function isSignedBy(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify(
      "sha256",
      message,
      { key: publicKeyObject(pointFromSpki(spki)), dsaEncoding: "ieee-p1363" },
      signature,
    );
  } catch (error) {
    // No point of the curve: nobody can have signed with it.
    if (error instanceof KeysError) return false;
    throw error;
  }
}

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("sha256").update(bytes).digest());
