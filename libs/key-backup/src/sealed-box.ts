/**
 * One message to one X25519 public key: ephemeral public key (32) || ciphertext || tag (16).
 * AES-256-GCM; key = HKDF-SHA256(ECDH, salt = ephemeral public key || recipient, info = context).
 * Each key encrypts once, so the nonce is zero. The context says what the message is for: it opens
 * under no other. With a sender, ECDH of the sender's and the recipient's keys goes in too, and the
 * sender's public key into the salt: then nobody else can have sealed it.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, type DecipherGCM } from "node:crypto";
import { concatBytes } from "@dstack/bytes";
import { KeysError, x25519PublicKey, x25519SharedSecret } from "@dstack/keys";
import { KeyBackupError } from "./errors.ts";
import type { OperatorKey } from "./operator-key.ts";

const NONCE = new Uint8Array(12);
const OVERHEAD = 48;

/** @throws KeysError `shared-secret-zero` for a public key of small order */
export function sealTo(
  publicKey: Uint8Array,
  message: Uint8Array,
  context: Uint8Array,
  sender?: OperatorKey,
): Uint8Array {
  const ephemeral = randomBytes(32);
  const ephemeralPublic = x25519PublicKey(ephemeral);
  const proof =
    sender === undefined
      ? NONE
      : { shared: x25519SharedSecret(sender.secretKey, publicKey), publicKey: sender.publicKey };
  const key = boxKey(x25519SharedSecret(ephemeral, publicKey), proof, [ephemeralPublic, publicKey], context);
  ephemeral.fill(0);
  const cipher = createCipheriv("aes-256-gcm", key, NONCE);
  key.fill(0);
  return concatBytes(ephemeralPublic, cipher.update(message), cipher.final(), cipher.getAuthTag());
}

/** @throws KeyBackupError `cannot-open` for another key, another context, or changed bytes */
export function openSealed(
  secretKey: Uint8Array,
  sealed: Uint8Array,
  context: Uint8Array,
  sender?: Uint8Array,
): Uint8Array {
  if (sealed.length <= OVERHEAD) throw cannotOpen();
  const ephemeralPublic = sealed.subarray(0, 32);
  try {
    const proof = sender === undefined ? NONE : { shared: x25519SharedSecret(secretKey, sender), publicKey: sender };
    const key = boxKey(
      x25519SharedSecret(secretKey, ephemeralPublic),
      proof,
      [ephemeralPublic, x25519PublicKey(secretKey)],
      context,
    );
    const decipher = createDecipheriv("aes-256-gcm", key, NONCE, { authTagLength: 16 });
    key.fill(0);
    decipher.setAuthTag(sealed.subarray(-16));
    return concatBytes(decipher.update(sealed.subarray(32, -16)), authenticated(decipher));
  } catch (cause) {
    throw cause instanceof KeysError ? cannotOpen(cause) : cause;
  }
}

/** The last bytes, where the tag is that of the key: nothing else can fail there. */
function authenticated(decipher: DecipherGCM): Uint8Array {
  try {
    return decipher.final();
  } catch (cause) {
    throw cannotOpen(cause);
  }
}

interface SenderProof {
  readonly shared: Uint8Array;
  readonly publicKey: Uint8Array;
}

const NONE: SenderProof = { shared: new Uint8Array(), publicKey: new Uint8Array() };

function boxKey(
  shared: Uint8Array,
  sender: SenderProof,
  publicKeys: readonly Uint8Array[],
  context: Uint8Array,
): Buffer {
  const secret = concatBytes(shared, sender.shared);
  const key = Buffer.from(hkdfSync("sha256", secret, concatBytes(...publicKeys, sender.publicKey), context, 32));
  for (const bytes of [shared, sender.shared, secret]) bytes.fill(0);
  return key;
}

const cannotOpen = (cause?: unknown): KeyBackupError =>
  new KeyBackupError(
    "cannot-open",
    "sealed message does not open: it was changed, or made for another key or another purpose, or by somebody else",
    { cause },
  );
