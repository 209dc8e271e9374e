import { concatBytes, equalBytes, parseHex, utf8 } from "@dstack/bytes";
import { headerHash, shareHash, type Backup, type BackupHeader, type SealedShare } from "./backup.ts";
import { KeyBackupError } from "./errors.ts";
import type { OperatorKey } from "./operator-key.ts";
import type { RestoreSession } from "./restore-session.ts";
import { openSealed, sealTo } from "./sealed-box.ts";
import type { ResealedShare } from "./share.ts";

/** Seals a share to the operator at its place. */
export function sealOperatorShare(header: BackupHeader, index: number, share: Uint8Array): SealedShare {
  return { hash: shareHash(share), sealed: sealTo(operatorAt(header, index), share, backupContext(header, index)) };
}

/** The operator's place in a backup. @throws KeyBackupError `not-an-operator` */
function ownShareIndex({ header }: Backup, publicKey: Uint8Array): number {
  const index = header.operators.findIndex((key) => equalBytes(key, publicKey));
  if (index < 0) throw new KeyBackupError("not-an-operator", "this key is none of the operators' keys in the backup");
  return index;
}

/** The operator's own share; the caller overwrites it after use. @throws KeyBackupError `not-an-operator`, `cannot-open` */
export function openOwnShare(
  backup: Backup,
  { secretKey, publicKey }: OperatorKey,
): { readonly index: number; readonly share: Uint8Array } {
  const index = ownShareIndex(backup, publicKey);
  const { sealed } = shareAt(backup, index);
  return { index, share: checked(backup, index, openSealed(secretKey, sealed, backupContext(backup.header, index))) };
}

/**
 * Seals an opened share to a session whose evidence has been verified, so that it shows who did:
 * whoever makes up a backup knows its shares, and must not be able to hand them in.
 */
export function resealShare(
  session: RestoreSession,
  index: number,
  share: Uint8Array,
  operator: OperatorKey,
): ResealedShare {
  return {
    backup: session.backup,
    session: session.publicKey,
    operator: index,
    sealed: sealTo(session.publicKey, share, sessionContext(session.backup, session.publicKey, index), operator),
  };
}

/**
 * Opens a share on the side of the restoring KMS.
 * @throws KeyBackupError `wrong-backup` for a share of another backup, `cannot-open` for one of another session or
 *   place, and for one that the operator of that place did not seal
 */
export function openResealedShare(
  backup: Backup,
  session: { readonly backup: string; readonly secretKey: Uint8Array; readonly publicKey: Uint8Array },
  share: ResealedShare,
): Uint8Array {
  if (share.backup !== session.backup)
    throw new KeyBackupError("wrong-backup", "share: it belongs to another backup than the one that is being restored");
  if (!equalBytes(share.session, session.publicKey))
    throw new KeyBackupError("cannot-open", "share: it was sealed to another session; open it again for this one");
  if (share.operator >= backup.shares.length)
    throw new KeyBackupError("not-an-operator", `share: the backup has no operator ${share.operator + 1}`);
  return checked(
    backup,
    share.operator,
    openSealed(
      session.secretKey,
      share.sealed,
      sessionContext(session.backup, session.publicKey, share.operator),
      operatorAt(backup.header, share.operator),
    ),
  );
}

function checked(backup: Backup, index: number, share: Uint8Array): Uint8Array {
  if (!equalBytes(shareHash(share), shareAt(backup, index).hash))
    throw new KeyBackupError("cannot-open", `share: it is not the one that the backup gives operator ${index + 1}`);
  return share;
}

function shareAt(backup: Backup, index: number): SealedShare {
  const share = backup.shares[index];
  if (share === undefined) throw new KeyBackupError("not-an-operator", `the backup has no share ${index + 1}`);
  return share;
}

function operatorAt(header: BackupHeader, index: number): Uint8Array {
  const key = header.operators[index];
  if (key === undefined) throw new KeyBackupError("not-an-operator", `the backup has no operator ${index + 1}`);
  return key;
}

const backupContext = (header: BackupHeader, index: number): Uint8Array =>
  concatBytes(utf8("dstack-kms-backup-share-v1\0"), headerHash(header), Uint8Array.of(index));
const sessionContext = (backup: string, session: Uint8Array, index: number): Uint8Array =>
  concatBytes(utf8("dstack-kms-restore-share-v1\0"), parseHex(backup), session, Uint8Array.of(index));
