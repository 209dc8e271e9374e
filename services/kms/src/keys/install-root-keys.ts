import { access, link, mkdir, open, readFile, rename, rm, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { ignoreMissing } from "@dstack/errors";
import { toHex } from "@dstack/bytes";
import { syncFolder } from "@dstack/files";
import { generateP256, pkcs8Pem, secp256k1PublicKey, spkiDer, type P256Key } from "@dstack/keys";
import { createRootCa, createRpcCertificate, createTempCa } from "../certificates/kms-certificates.ts";
import { KmsError } from "../errors.ts";
import { checkDomain } from "./domain.ts";
import {
  COMMITTED,
  DOMAIN_FILE,
  INFO_FILE,
  KEY_FILES,
  keyFolderState,
  OWN_FILES,
  STAGING,
  type OwnFile,
} from "./key-files.ts";

/** What makes one KMS a replica of another. */
export interface RootKeys {
  readonly rootCa: P256Key;
  readonly tempCa: P256Key;
  /** 32 bytes, a secp256k1 scalar. */
  readonly rootK256: Uint8Array;
}

/** Evidence over the two root public keys; empty where the KMS has none. */
export interface RootEvidence {
  /** Attestation bytes, as releases from 0.5.6 read them. */
  readonly attestation: Uint8Array;
  /** Raw quote and JSON text of the event log, as 0.5.5 and registration tools read them. */
  readonly quote: Uint8Array;
  readonly eventlog: Uint8Array;
}

/** Puts new roots on record. What it throws ends the installation, with nothing changed. */
export type RecordInstall = (roots: RootKeys, domain: string) => Promise<void>;

export interface InstallOptions {
  readonly folder: string;
  readonly roots: RootKeys;
  /** Name or address in the RPC certificate. */
  readonly domain: string;
  /** Unix seconds. */
  readonly now: number;
  readonly evidence?: RootEvidence;
  /** Called with everything ready, right before the set becomes valid. */
  readonly record?: RecordInstall;
}

/**
 * Makes these the root keys of a folder that has none: certificates and an RPC key are made for
 * them, every file is written and flushed in a folder of its own, one rename makes the set valid,
 * then the files are put in place, roots last. A crash at any moment leaves no keys or, from the
 * rename on, a set that `finishInstall` puts in place. Other files in the folder are left alone.
 * @throws KmsError `already-bootstrapped` where any key is there, or another installation is under
 *   way; `config-invalid` for the domain; the system's error with nothing changed
 */
export async function installRootKeys(options: InstallOptions): Promise<void> {
  const { folder } = options;
  const files = newKeyFiles(options);
  const staging = join(folder, STAGING);
  await mkdir(staging, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    // One at a time: whatever a crash left here was removed by `finishInstall` at start.
    if (error.code === "EEXIST")
      throw new KmsError("already-bootstrapped", `keys are being written to ${folder} already`);
    throw error;
  });
  try {
    await requireNoKeys(folder, "KMS has already been bootstrapped");
    for (const name of OWN_FILES) await writeNew(join(staging, name), files[name]);
    await syncFolder(staging);
    await options.record?.(options.roots, options.domain);
    await rename(staging, join(folder, COMMITTED));
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(folder);
  await finishInstall(folder);
}

/** @throws KmsError `already-bootstrapped` with this text unless the folder holds no key at all */
export async function requireNoKeys(folder: string, text: string): Promise<void> {
  const { kind } = await keyFolderState(folder);
  if (kind !== "empty") throw new KmsError("already-bootstrapped", text);
}

/**
 * What has to happen to a key folder at start, by whoever holds its lock: a set that was made valid
 * is put in place, one that was not is removed. Safe to repeat after a crash at any point.
 * @returns whether an interrupted installation was completed
 * @throws KmsError `key-folder-partial` where a key of another content stands in the way
 */
export async function finishInstall(folder: string): Promise<boolean> {
  await rm(join(folder, STAGING), { recursive: true, force: true });
  if ((await keyFolderState(folder)).kind !== "committed") return false;
  const committed = join(folder, COMMITTED);
  if (await exists(join(committed, DOMAIN_FILE))) await rename(join(committed, DOMAIN_FILE), join(folder, DOMAIN_FILE));
  for (const name of [INFO_FILE, ...KEY_FILES]) await place(join(committed, name), join(folder, name));
  await syncFolder(folder);
  for (const name of [INFO_FILE, ...KEY_FILES]) await unlink(join(committed, name)).catch(ignoreMissing);
  await rmdir(committed);
  await syncFolder(folder);
  return true;
}

async function place(from: string, to: string): Promise<void> {
  try {
    // link() never replaces a file, unlike rename().
    await link(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      // Put in place and unlinked here by an earlier attempt.
      if (await exists(to)) return;
      throw new KmsError(
        "key-folder-partial",
        `neither ${to} nor ${from} is there: an installation was interrupted and then lost a file. Restore it from a backup, or, if no app ever used these keys, move both folders' key files away and start again`,
        { cause: error },
      );
    }
    if (code !== "EEXIST") throw error;
    if ((await readFile(from)).equals(await readFile(to))) return;
    throw new KmsError(
      "key-folder-partial",
      `${to} and ${from} differ: two installations met in one folder. Move ${COMMITTED} away to keep the keys that are in place, or move those away to keep the new ones`,
    );
  }
}

/** All files of a new KMS by name. */
function newKeyFiles({ roots, now, ...options }: InstallOptions): Record<OwnFile, string | Uint8Array> {
  const domain = checkDomain(options.domain);
  const tempCa = createTempCa(roots.tempCa, now);
  const rootCa = createRootCa(roots.rootCa, now);
  const rpcKey = generateP256();
  const hex = (bytes: Uint8Array | undefined): string => toHex(bytes ?? new Uint8Array());
  const info = {
    ca_pubkey: toHex(spkiDer(roots.rootCa)),
    k256_pubkey: toHex(secp256k1PublicKey(roots.rootK256)),
    attestation: hex(options.evidence?.attestation),
    // Registration tools of older releases want these two (DS #539).
    quote: hex(options.evidence?.quote),
    eventlog: hex(options.evidence?.eventlog),
  };
  return {
    "tmp-ca.crt": tempCa.pem,
    "root-ca.crt": rootCa.pem,
    "rpc.crt": createRpcCertificate({ rootCa, rpcKey, domain, now }).pem,
    "rpc.key": pkcs8Pem(rpcKey),
    "tmp-ca.key": pkcs8Pem(tempCa.key),
    "root-ca.key": pkcs8Pem(rootCa.key),
    "root-k256.key": roots.rootK256,
    [INFO_FILE]: JSON.stringify(info),
    [DOMAIN_FILE]: domain,
  };
}

async function writeNew(path: string, data: string | Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      ignoreMissing(error);
      return false;
    },
  );
