import { randomBytes } from "node:crypto";
import { toHex } from "@dstack/bytes";
import {
  encodeBackup,
  generateOperatorKey,
  operatorKeyFromPem,
  sealOperatorShare,
  type Backup,
  type BackupHeader,
  type OperatorKey,
} from "@dstack/key-backup";
import { generateP256, secp256k1PublicKey, spkiDer, type P256Key } from "@dstack/keys";

export interface Fixture {
  readonly rootCa: P256Key;
  readonly operators: readonly OperatorKey[];
  readonly header: BackupHeader;
  /** What each operator holds; not real shares of anything. */
  readonly shares: readonly Uint8Array[];
  readonly backup: Backup;
  readonly bytes: Uint8Array;
}

/** A backup of the right form: three operators, two of whom are needed. */
export function fixture(): Fixture {
  const rootCa = generateP256();
  const operators = [0, 1, 2].map(() => operatorKeyFromPem(generateOperatorKey().pem));
  const header: BackupHeader = {
    id: toHex(randomBytes(16)),
    created: "2026-01-02T03:04:05.678Z",
    rootCaPublicKey: spkiDer(rootCa),
    rootK256PublicKey: secp256k1PublicKey(new Uint8Array(32).fill(7)),
    threshold: 2,
    operators: operators.map(({ publicKey }) => publicKey),
  };
  const shares = operators.map(() => new Uint8Array(randomBytes(33)));
  const backup = {
    header,
    shares: shares.map((share, index) => sealOperatorShare(header, index, share)),
    sealedKeys: new Uint8Array(124).fill(1),
  };
  return { rootCa, operators, header, shares, backup, bytes: encodeBackup(backup, rootCa) };
}
