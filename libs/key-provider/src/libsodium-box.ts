/**
 * libsodium's sealed box (crypto_box_seal): ephemeral X25519 public key (32) ‖ XSalsa20-Poly1305 box, under the
 * shared secret's HSalsa20, with the nonce BLAKE2b-24(ephemeral public key ‖ recipient's public key). Its sender
 * is not authenticated.
 */
import { randomBytes } from "node:crypto";
import { hsalsa, xsalsa20poly1305 } from "@noble/ciphers/salsa";
import { blake2b } from "@noble/hashes/blake2.js";
import { concatBytes } from "@dstack/bytes";
import { KeysError, x25519PublicKey, x25519SharedSecret } from "@dstack/keys";
import { KeyProviderError } from "./errors.ts";

const KEY_BYTES = 32;
const TAG_BYTES = 16;

/** Seals for a public key. @throws KeysError `shared-secret-zero` for a key of small order, which anybody could open */
export function sealBox(plaintext: Uint8Array, publicKey: Uint8Array): Uint8Array {
  const ephemeral = new Uint8Array(randomBytes(KEY_BYTES));
  const ephemeralPublic = x25519PublicKey(ephemeral);
  const key = boxKey(x25519SharedSecret(ephemeral, publicKey));
  return concatBytes(ephemeralPublic, xsalsa20poly1305(key, nonceOf(ephemeralPublic, publicKey)).encrypt(plaintext));
}

/** @throws KeyProviderError `box-invalid` where the box is for another key or was changed */
export function openSealedBox(box: Uint8Array, secretKey: Uint8Array): Uint8Array {
  if (box.length < KEY_BYTES + TAG_BYTES)
    throw new KeyProviderError(
      "box-invalid",
      `sealed box: ${box.length} bytes, expected ${KEY_BYTES + TAG_BYTES} or more`,
    );
  const ephemeralPublic = box.subarray(0, KEY_BYTES);
  try {
    const key = boxKey(x25519SharedSecret(secretKey, ephemeralPublic));
    const nonce = nonceOf(ephemeralPublic, x25519PublicKey(secretKey));
    return xsalsa20poly1305(key, nonce).decrypt(box.subarray(KEY_BYTES));
  } catch (cause) {
    if (cause instanceof KeysError || cause instanceof Error)
      throw new KeyProviderError("box-invalid", "sealed box: it is for another key, or was changed", { cause });
    throw cause;
  }
}

const nonceOf = (ephemeralPublic: Uint8Array, publicKey: Uint8Array): Uint8Array =>
  blake2b(concatBytes(ephemeralPublic, publicKey), { dkLen: 24 });

/** HSalsa20 of the shared secret with a zero input, as crypto_box_beforenm. */
function boxKey(shared: Uint8Array): Uint8Array {
  const words = (bytes: Uint8Array): Uint32Array => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Uint32Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(4 * index, true));
  };
  const out = new Uint32Array(8);
  const constant = words(Buffer.from("expand 32-byte k"));
  hsalsa(constant, words(shared), new Uint32Array(4), out);
  const key = new Uint8Array(32);
  const view = new DataView(key.buffer);
  out.forEach((word, index) => view.setUint32(4 * index, word, true));
  return key;
}
