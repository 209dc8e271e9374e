/**
 * secp256k1 keys and recoverable signatures. Every multiplication by a secret scalar is OpenSSL's, which takes the same
 * time for each; what is left of the arithmetic runs on values that a fresh random factor hides. Nonces are those of
 * RFC 6979 with SHA-256, so signatures are reproducible.
 */
import { createECDH, createHmac, hash, randomBytes } from "node:crypto";
import { concatBytes, toHex } from "@dstack/bytes";
import { KeysError, requireLength } from "./errors.ts";

/** The group order. */
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** Keccak-256 (the pre-standard padding that Ethereum uses). */
export const keccak256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(hash("keccak-256", bytes, "buffer"));

/** Compressed public key, 33 bytes. @throws KeysError `length-wrong`, `scalar-invalid` */
export const secp256k1PublicKey = (scalar: Uint8Array): Uint8Array => multiply(scalar, "compressed");

/**
 * ECDSA over the Keccak-256 digest of `message`: r(32) ‖ s(32, low) ‖ recovery id (0 or 1).
 * @throws KeysError `length-wrong`, `scalar-invalid`
 */
export function signRecoverable(scalar: Uint8Array, message: Uint8Array): Uint8Array {
  return signRecoverableDigest(scalar, keccak256(message));
}

/** As `signRecoverable`, over a digest of 32 bytes that the caller made. */
export function signRecoverableDigest(scalar: Uint8Array, digest: Uint8Array): Uint8Array {
  requireLength(digest, 32, "digest");
  requireScalar(scalar);
  for (const nonce of nonces(scalar, digest)) {
    const point = multiply(nonce, "uncompressed");
    const x = toNumber(point.subarray(1, 33));
    const r = x % N;
    const s = response(scalar, digest, nonce, r);
    nonce.fill(0);
    // Both next to impossible: the standard says to draw again; an x beyond the order would need a recovery id of 2 or 3.
    if (r === 0n || s === 0n || x >= N) continue;
    const isHigh = s > N >> 1n;
    const isOdd = (point[64]! & 1) === 1;
    return concatBytes(toBytes(r), toBytes(isHigh ? N - s : s), Uint8Array.of(isOdd === isHigh ? 0 : 1));
  }
  throw new KeysError("scalar-invalid", "no nonce in 8 draws gave a signature");
}

/** s = (z + r d) / k, computed as (b z + b r d) / (b k) with a factor b that nobody knows. */
function response(scalar: Uint8Array, digest: Uint8Array, nonce: Uint8Array, r: bigint): bigint {
  const blind = 1n + (toNumber(randomBytes(40)) % (N - 1n));
  const blindedKey = (toNumber(scalar) * blind) % N;
  const numerator = (r * blindedKey + toNumber(digest) * blind) % N;
  return (numerator * inverse((toNumber(nonce) * blind) % N)) % N;
}

/** RFC 6979, 3.2: the nonces for a digest, in the order in which they are tried. */
function* nonces(scalar: Uint8Array, digest: Uint8Array): Generator<Uint8Array> {
  const seed = concatBytes(scalar, toBytes(toNumber(digest) % N));
  let value: Uint8Array = new Uint8Array(32).fill(1);
  let key: Uint8Array = new Uint8Array(32);
  const stir = (mark: number, more: Uint8Array): void => {
    key = hmac(key, concatBytes(value, Uint8Array.of(mark), more));
    value = hmac(key, value);
  };
  stir(0, seed);
  stir(1, seed);
  for (let draw = 0; draw < 8; draw++) {
    value = hmac(key, value);
    if (isScalar(value)) yield Uint8Array.from(value);
    stir(0, new Uint8Array());
  }
}

const hmac = (key: Uint8Array, bytes: Uint8Array): Uint8Array => createHmac("sha256", key).update(bytes).digest();

/** The scalar's public point. */
function multiply(scalar: Uint8Array, form: "compressed" | "uncompressed"): Uint8Array {
  requireScalar(scalar);
  const curve = createECDH("secp256k1");
  curve.setPrivateKey(scalar);
  return new Uint8Array(curve.getPublicKey(null, form));
}

function requireScalar(scalar: Uint8Array): void {
  requireLength(scalar, 32, "secp256k1 scalar");
  if (!isScalar(scalar)) throw new KeysError("scalar-invalid", "secp256k1 scalar is zero or not below the group order");
}

function isScalar(bytes: Uint8Array): boolean {
  const value = toNumber(bytes);
  return value > 0n && value < N;
}

/** By the extended algorithm of Euclid; its time depends on the value, so that must be blinded. */
function inverse(value: bigint): bigint {
  let [a, b] = [value, N];
  let [x, y] = [1n, 0n];
  while (b > 0n) {
    const quotient = a / b;
    [a, b] = [b, a - quotient * b];
    [x, y] = [y, x - quotient * y];
  }
  return x < 0n ? x + N : x;
}

const toNumber = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes)}`);

function toBytes(value: bigint): Uint8Array {
  return new Uint8Array(Buffer.from(value.toString(16).padStart(64, "0"), "hex"));
}
