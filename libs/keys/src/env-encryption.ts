/**
 * The encrypted environment: ephemeral X25519 public key (32) ‖ IV (12) ‖ ciphertext ‖ tag (16).
 * AES-256-GCM under the shared secret itself, no associated data; the plaintext is JSON
 * `{"env":[{"key":…,"value":…},…]}`. The sender is not authenticated: anybody who knows the
 * app's public key can make one (audit 03).
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { concatBytes, parseJson, utf8, utf8Decode } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";
import { x25519PublicKey, x25519SharedSecret } from "./x25519.ts";

export interface EnvPair {
  readonly key: string;
  readonly value: string;
}

export const MAX_ENV_PAIRS = 1024;
/** Room for a mebibyte of names and values, and for JSON's escapes around them. */
export const MAX_ENCRYPTED_ENV_BYTES = 8 * 1024 * 1024;

/**
 * Encrypts to an app's public key. `random` must be a cryptographic source; tests inject their own.
 * @throws KeysError `shared-secret-zero` for a bad public key
 */
export function encryptEnv(
  pairs: readonly EnvPair[],
  publicKey: Uint8Array,
  random: (size: number) => Uint8Array = randomBytes,
): Uint8Array {
  if (pairs.length > MAX_ENV_PAIRS) throw tooMany(pairs.length);
  const ephemeral = random(32);
  const iv = random(12);
  const cipher = createCipheriv("aes-256-gcm", x25519SharedSecret(ephemeral, publicKey), iv);
  const plaintext = utf8(JSON.stringify({ env: pairs.map(({ key, value }) => ({ key, value })) }));
  const blob = concatBytes(
    x25519PublicKey(ephemeral),
    iv,
    cipher.update(plaintext),
    cipher.final(),
    cipher.getAuthTag(),
  );
  if (blob.length > MAX_ENCRYPTED_ENV_BYTES) throw tooLarge(blob.length);
  return blob;
}

/**
 * Decrypts with the app's private key. Gives the pairs as they stand: which names are allowed
 * and how long values may be is for the caller to judge.
 * @throws KeysError `ciphertext-invalid`, `plaintext-invalid`, `shared-secret-zero`, `length-wrong`
 */
export function decryptEnv(blob: Uint8Array, secretKey: Uint8Array): EnvPair[] {
  requireLength(secretKey, 32, "Invalid env crypt key length");
  if (blob.length > MAX_ENCRYPTED_ENV_BYTES) throw tooLarge(blob.length);
  if (blob.length < 60)
    throw new KeysError("ciphertext-invalid", `encrypted environment: expected at least 60 bytes, got ${blob.length}`);
  const shared = x25519SharedSecret(secretKey, blob.subarray(0, 32));
  const decipher = createDecipheriv("aes-256-gcm", shared, blob.subarray(32, 44), { authTagLength: 16 });
  decipher.setAuthTag(blob.subarray(-16));
  let plaintext: Uint8Array;
  try {
    plaintext = concatBytes(decipher.update(blob.subarray(44, -16)), decipher.final());
  } catch (cause) {
    throw new KeysError(
      "ciphertext-invalid",
      "encrypted environment does not open with this app's key; encrypt it again for this app",
      { cause },
    );
  }
  return parsePairs(plaintext);
}

function parsePairs(plaintext: Uint8Array): EnvPair[] {
  let parsed: unknown;
  try {
    parsed = parseJson(utf8Decode(plaintext));
  } catch {
    // The cause would quote the plaintext, which is secret.
    // oxlint-disable-next-line preserve-caught-error
    throw new KeysError("plaintext-invalid", "decrypted environment is not JSON");
  }
  const list = isRecord(parsed) ? parsed["env"] : undefined;
  if (!Array.isArray(list)) throw new KeysError("plaintext-invalid", 'decrypted environment: expected {"env":[...]}');
  if (list.length > MAX_ENV_PAIRS) throw tooMany(list.length);
  return list.map((item: unknown, index) => {
    const key = isRecord(item) ? item["key"] : undefined;
    const value = isRecord(item) ? item["value"] : undefined;
    if (typeof key !== "string" || typeof value !== "string")
      throw new KeysError("plaintext-invalid", `decrypted environment: item ${index} lacks key or value as text`);
    return { key, value };
  });
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const tooMany = (count: number): KeysError =>
  new KeysError("plaintext-invalid", `Too many environment variables: ${count}, limit ${MAX_ENV_PAIRS}`);
const tooLarge = (size: number): KeysError =>
  new KeysError("ciphertext-invalid", `encrypted environment: ${size} bytes, limit ${MAX_ENCRYPTED_ENV_BYTES}`);
