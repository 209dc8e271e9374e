import { createDecipheriv, type DecipherGCM } from "node:crypto";
import { concatBytes, equalBytes } from "@dstack/bytes";
import { headerHash, type Backup } from "@dstack/key-backup";
import { KeysError, p256FromScalar, secp256k1PublicKey, spkiDer } from "@dstack/keys";
import { combine } from "shamir-secret-sharing";
import { KmsError } from "../errors.ts";
import type { RootKeys } from "../keys/install-root-keys.ts";

/**
 * The root keys of a backup by the shares of its operators, checked against the public keys that
 * it names. The shares stay the caller's to overwrite.
 * @throws KmsError `restore-refused` where the shares give no keys, or other ones
 */
export async function openBackup({ header, sealedKeys }: Backup, shares: readonly Uint8Array[]): Promise<RootKeys> {
  const refused = (cause: unknown): KmsError =>
    new KmsError(
      "restore-refused",
      `${shares.length} shares do not open this backup, which needs ${header.threshold} of its own`,
      { cause },
    );
  const key = await combine([...shares]);
  let plain: Uint8Array | undefined;
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, sealedKeys.subarray(0, 12), { authTagLength: 16 }).setAAD(
      headerHash(header),
    );
    decipher.setAuthTag(sealedKeys.subarray(-16));
    plain = concatBytes(decipher.update(sealedKeys.subarray(12, -16)), authenticated(decipher, refused));
    const roots = {
      rootCa: p256FromScalar(plain.subarray(0, 32)),
      tempCa: p256FromScalar(plain.subarray(32, 64)),
      rootK256: plain.slice(64, 96),
    };
    if (
      !equalBytes(spkiDer(roots.rootCa), header.rootCaPublicKey) ||
      !equalBytes(secp256k1PublicKey(roots.rootK256), header.rootK256PublicKey)
    ) {
      throw new KmsError("restore-refused", "the restored keys are not those whose public keys the backup names");
    }
    return roots;
  } catch (cause) {
    throw cause instanceof KeysError ? refused(cause) : cause;
  } finally {
    key.fill(0);
    plain?.fill(0);
  }
}

/** The last bytes, where the tag is that of the key: nothing else can fail there. */
function authenticated(decipher: DecipherGCM, refused: (cause: unknown) => Error): Uint8Array {
  try {
    return decipher.final();
  } catch (cause) {
    throw refused(cause);
  }
}
