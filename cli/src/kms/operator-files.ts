import { X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { equalBytes, toHex } from "@dstack/bytes";
import { decodeBackup, KeyBackupError, type Backup } from "@dstack/key-backup";
import { CliError } from "../terminal/errors.ts";

/** @throws CliError `denied` where the signature does not hold */
export function readBackup(bytes: Uint8Array): Backup {
  try {
    return decodeBackup(bytes);
  } catch (cause) {
    if (cause instanceof KeyBackupError) throw new CliError("denied", "this is no good backup", { cause });
    throw cause;
  }
}

/** The one thing that a backup cannot say about itself: whose it is. @throws CliError `denied` */
export async function requireRoot({ header }: Backup, certificateFile: string): Promise<void> {
  let spki: Uint8Array;
  try {
    spki = new X509Certificate(await readFile(certificateFile)).publicKey.export({ format: "der", type: "spki" });
  } catch (cause) {
    throw new CliError("usage", `--root-ca: ${certificateFile} is no certificate in PEM`, { cause });
  }
  if (!equalBytes(spki, header.rootCaPublicKey))
    throw new CliError(
      "denied",
      `the backup is signed by another KMS: expected the key of ${certificateFile}, got ${toHex(header.rootCaPublicKey)}`,
    );
}

/** A file that the user named. @throws CliError `not-found` */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new CliError(
      (cause as NodeJS.ErrnoException).code === "ENOENT" ? "not-found" : "failed",
      `${path} cannot be read`,
      { cause },
    );
  }
}

/** @throws CliError where there is such a file already */
export async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeFile(path, bytes, { mode: 0o600, flag: "wx", flush: true });
  } catch (cause) {
    throw new CliError(
      "failed",
      (cause as NodeJS.ErrnoException).code === "EEXIST" ? `${path} is there already` : `${path} cannot be written`,
      { cause },
    );
  }
}
