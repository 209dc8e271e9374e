import { createECDH, createHash, createPrivateKey, createPublicKey, randomBytes, type KeyObject } from "node:crypto";
import { concatBytes, equalBytes, parseHex } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";
import { kdf } from "./kdf.ts";

/** A P-256 key pair: scalar big-endian (32 bytes), public point uncompressed (65 bytes, first 04). */
export interface P256Key {
  readonly scalar: Uint8Array;
  readonly publicPoint: Uint8Array;
}

const PKCS8_HEAD = parseHex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420");
const PKCS8_MIDDLE = parseHex("a144034200");
const SPKI_HEAD = parseHex("3059301306072a8648ce3d020106082a8648ce3d030107034200");

/** @throws KeysError `length-wrong`, `scalar-invalid` for zero and for the group order and above */
export function p256FromScalar(scalar: Uint8Array): P256Key {
  requireLength(scalar, 32, "P-256 scalar");
  const curve = createECDH("prime256v1");
  try {
    curve.setPrivateKey(scalar);
  } catch (cause) {
    throw new KeysError("scalar-invalid", "P-256 scalar is zero or not below the group order", { cause });
  }
  return { scalar: Uint8Array.from(scalar), publicPoint: new Uint8Array(curve.getPublicKey()) };
}

/** A fresh key. `random` must be a cryptographic source; tests inject their own. */
export function generateP256(random: (size: number) => Uint8Array = randomBytes): P256Key {
  // A draw fails with probability 2^-32; more than a few in a row means a broken source.
  for (let attempt = 0; attempt < 8; attempt++) {
    try {
      return p256FromScalar(random(32));
    } catch (error) {
      if (!(error instanceof KeysError && error.code === "scalar-invalid")) throw error;
    }
  }
  throw new KeysError("scalar-invalid", "random source gave no valid P-256 scalar in 8 draws");
}

/** The child key whose scalar is `kdf(parent, context)`. @throws KeysError */
export function deriveP256(parentScalar: Uint8Array, context: readonly Uint8Array[]): P256Key {
  requireLength(parentScalar, 32, "parent scalar");
  return p256FromScalar(kdf(parentScalar, context));
}

/** SHA-256 over the PKCS#8 form of the derived key (#553: the 138 bytes of that form are frozen). */
export function deriveDh(parentScalar: Uint8Array, context: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(
    createHash("sha256")
      .update(pkcs8Der(deriveP256(parentScalar, context)))
      .digest(),
  );
}

/** PKCS#8 with the public point inside, 138 bytes. */
export const pkcs8Der = (key: P256Key): Uint8Array =>
  concatBytes(PKCS8_HEAD, key.scalar, PKCS8_MIDDLE, key.publicPoint);

/** `PRIVATE KEY` PEM of `pkcs8Der`, 64 columns, final newline. */
export function pkcs8Pem(key: P256Key): string {
  const lines =
    Buffer.from(pkcs8Der(key))
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
}

/** SubjectPublicKeyInfo, 91 bytes, from a key or an uncompressed point. @throws KeysError `length-wrong` */
export function spkiDer(key: P256Key | Uint8Array): Uint8Array {
  const point = key instanceof Uint8Array ? key : key.publicPoint;
  requireLength(point, 65, "P-256 public point");
  return concatBytes(SPKI_HEAD, point);
}

/**
 * The uncompressed point of a P-256 SubjectPublicKeyInfo in exactly the form `spkiDer` writes.
 * The point is checked to be on the curve.
 * @throws KeysError `length-wrong`, `scalar-invalid`
 */
export function pointFromSpki(spki: Uint8Array): Uint8Array {
  requireLength(spki, SPKI_HEAD.length + 65, "P-256 public key");
  const point = spki.subarray(SPKI_HEAD.length);
  if (!equalBytes(spki.subarray(0, SPKI_HEAD.length), SPKI_HEAD) || point[0] !== 4) {
    throw new KeysError("scalar-invalid", "public key is not an uncompressed P-256 key");
  }
  try {
    createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch (cause) {
    throw new KeysError("scalar-invalid", "public key is not a point of P-256", { cause });
  }
  return Uint8Array.from(point);
}

/**
 * Reads a P-256 private key in PEM, PKCS#8 or SEC 1.
 * @throws KeysError `scalar-invalid` for anything else
 */
export function p256FromPem(pem: string): P256Key {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1")
      throw new Error(`expected P-256, got ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType}`);
    return p256FromScalar(new Uint8Array(Buffer.from(key.export({ format: "jwk" }).d ?? "", "base64url")));
  } catch (cause) {
    if (cause instanceof KeysError) throw cause;
    throw new KeysError("scalar-invalid", "not a P-256 private key in PEM", { cause });
  }
}

/** For `node:crypto` and `node:tls`. */
export const privateKeyObject = (key: P256Key): KeyObject =>
  createPrivateKey({ key: Buffer.from(pkcs8Der(key)), format: "der", type: "pkcs8" });
export const publicKeyObject = (key: P256Key | Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.from(spkiDer(key)), format: "der", type: "spki" });
