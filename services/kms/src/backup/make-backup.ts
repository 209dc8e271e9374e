import { createCipheriv, randomBytes } from "node:crypto";
import { concatBytes, toHex } from "@dstack/bytes";
import { encodeBackup, headerHash, sealOperatorShare, type BackupHeader } from "@dstack/key-backup";
import { secp256k1PublicKey, spkiDer } from "@dstack/keys";
import { split } from "shamir-secret-sharing";
import type { RootKeys } from "../keys/install-root-keys.ts";
import type { BackupOperators } from "../config/backup-operators.ts";

/** The root keys in the order and size in which a backup holds them: three scalars of 32 bytes. */
const rootBytes = ({ rootCa, tempCa, rootK256 }: RootKeys): Uint8Array =>
  concatBytes(rootCa.scalar, tempCa.scalar, rootK256);

/**
 * A backup of the root keys under a fresh key, which is split among the operators.
 * @param now Unix milliseconds
 * @throws KeyBackupError `operators-invalid`
 */
export async function makeBackup(
  roots: RootKeys,
  { threshold, publicKeys }: BackupOperators,
  now: number,
): Promise<Uint8Array> {
  const header: BackupHeader = {
    id: toHex(randomBytes(16)),
    created: new Date(now).toISOString(),
    rootCaPublicKey: spkiDer(roots.rootCa),
    rootK256PublicKey: secp256k1PublicKey(roots.rootK256),
    threshold,
    operators: publicKeys,
  };
  const key = new Uint8Array(randomBytes(32));
  const plain = rootBytes(roots);
  const shares = await split(key, publicKeys.length, threshold);
  try {
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(headerHash(header));
    const sealedKeys = concatBytes(nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag());
    return encodeBackup(
      { header, sealedKeys, shares: shares.map((share, index) => sealOperatorShare(header, index, share)) },
      roots.rootCa,
    );
  } finally {
    for (const secret of [key, plain, ...shares]) secret.fill(0);
  }
}
