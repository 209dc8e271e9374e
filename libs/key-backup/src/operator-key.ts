/**
 * An operator's key pair: X25519. The secret key is a PKCS#8 PEM file, as
 * `openssl genpkey -algorithm x25519` writes it; the public key is 64 hex digits.
 */
import { createPrivateKey, randomBytes } from "node:crypto";
import { parseHexOfLength, publicKey32, type PublicKey32 } from "@dstack/bytes";
import { rawToPkcs8, x25519PublicKey, x25519SharedSecret } from "@dstack/keys";
import { KeyBackupError } from "./errors.ts";

export interface OperatorKey {
  /** 32 bytes. The holder overwrites it after use. */
  readonly secretKey: Uint8Array;
  readonly publicKey: PublicKey32;
}

/** A fresh pair: the text of the secret key's file, and the public key. */
export function generateOperatorKey(): { readonly pem: string; readonly publicKey: PublicKey32 } {
  const secretKey = randomBytes(32);
  const der = Buffer.from(rawToPkcs8("x25519", secretKey));
  const pem = `-----BEGIN PRIVATE KEY-----\n${der.toString("base64")}\n-----END PRIVATE KEY-----\n`;
  const publicKey = x25519PublicKey(secretKey);
  secretKey.fill(0);
  der.fill(0);
  return { pem, publicKey };
}

/** @throws KeyBackupError `key-malformed`; the text never quotes the file */
export function operatorKeyFromPem(pem: string): OperatorKey {
  let d: string | undefined;
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === "x25519") ({ d } = key.export({ format: "jwk" }));
  } catch {
    // The cause may quote the text, which is secret.
    d = undefined;
  }
  const secretKey = new Uint8Array(Buffer.from(d ?? "", "base64url"));
  if (secretKey.length !== 32)
    throw new KeyBackupError(
      "key-malformed",
      "operator key: expected an X25519 private key in PEM (PKCS#8), as `dstack kms keygen` writes it",
    );
  return { secretKey, publicKey: x25519PublicKey(secretKey) };
}

/**
 * A public key that somebody configured.
 * @throws KeyBackupError `key-malformed` for what is not 64 hex digits, or a point to which nothing can be sealed
 */
export function parseOperatorPublicKey(text: string): PublicKey32 {
  try {
    const key = publicKey32(parseHexOfLength(text, 32));
    x25519SharedSecret(new Uint8Array(32).fill(1), key);
    // The bit is ignored by X25519: with it, one key would have two spellings and could count twice.
    if (((key[31] ?? 0) & 0x80) !== 0) throw new Error("the highest bit is set");
    return key;
  } catch (cause) {
    throw new KeyBackupError(
      "key-malformed",
      `operator public key: expected the 64 hex digits that \`dstack kms keygen\` prints, got "${text.slice(0, 80)}"`,
      { cause },
    );
  }
}
