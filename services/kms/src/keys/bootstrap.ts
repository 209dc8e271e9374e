import { link, mkdir, open, readFile, rename, rm, rmdir, unlink } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import { writeSecret } from "@dstack/files";
import { generateP256, KeysError, pkcs8Pem, secp256k1PublicKey, spkiDer } from "@dstack/keys";
import { createRootCa, createRpcCertificate, createTempCa } from "../certificates/kms-certificates.ts";
import { KmsError } from "../errors.ts";
import { checkDomain } from "./domain.ts";
import { COMMITTED, KEY_FILES, keyFolderState, SIDE_FILES, STAGING } from "./key-files.ts";

export interface BootstrapOptions {
  readonly folder: string;
  readonly domain: string;
  /** Unix seconds. */
  readonly now: number;
  /** Called before each step that changes the disk; the crash test throws from it. */
  readonly beforeStep?: (step: string) => void;
}

/**
 * Makes the roots of a new KMS, once. All files are written and flushed in a folder of their own;
 * one rename makes them the keys of this KMS; then they are put in place, roots last, and a start
 * after a crash goes on from there. A folder that holds any key is never written to.
 * @throws KmsError `key-folder-partial`
 */
export async function bootstrap(options: BootstrapOptions): Promise<void> {
  const { folder, now, beforeStep = () => undefined } = options;
  const domain = checkDomain(options.domain);
  const state = await keyFolderState(folder);
  if (state.kind !== "empty") throw new KmsError("key-folder-partial", "KMS has already been bootstrapped");
  const staging = join(folder, STAGING);
  beforeStep("clear staging");
  await rm(staging, { recursive: true, force: true });
  beforeStep("make staging");
  await mkdir(staging, { mode: 0o700 });
  for (const [name, content] of Object.entries(newKeyFiles(domain, now))) {
    beforeStep(`write ${name}`);
    await writeSecret(join(staging, name), content);
  }
  beforeStep("commit");
  await rename(staging, join(folder, COMMITTED));
  await syncFolder(folder);
  await finishBootstrap(folder, beforeStep);
}

/**
 * Puts committed files in place. Safe to repeat after a crash at any point.
 * @throws KmsError `key-folder-partial` where a file of another content stands in the way
 */
export async function finishBootstrap(folder: string, beforeStep: (step: string) => void = () => undefined): Promise<void> {
  const committed = join(folder, COMMITTED);
  for (const name of [...SIDE_FILES, ...KEY_FILES]) {
    const from = join(committed, name);
    const to = join(folder, name);
    beforeStep(`place ${name}`);
    try {
      // link() never replaces a file, unlike rename().
      await link(from, to);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EEXIST" && code !== "ENOENT") throw error;
      if (code === "EEXIST" && !(await readFile(from)).equals(await readFile(to))) {
        throw new KmsError("key-folder-partial", `${to} and ${from} differ: two bootstraps met in one folder. Move ${committed} away to keep the keys in ${folder}, or move the keys away to keep the new ones`);
      }
      if (code === "ENOENT") continue;
    }
    await syncFolder(folder);
    beforeStep(`unlink ${name}`);
    await unlink(from);
  }
  beforeStep("remove committed");
  await rmdir(committed);
  await syncFolder(folder);
}

/** All files of a new KMS by name. */
function newKeyFiles(domain: string, now: number): Record<string, string | Uint8Array> {
  const tempCa = createTempCa(generateP256(), now);
  const rootCa = createRootCa(generateP256(), now);
  const rpcKey = generateP256();
  const rootK256 = newSecp256k1Scalar();
  return {
    "tmp-ca.crt": tempCa.pem,
    "root-ca.crt": rootCa.pem,
    "rpc.crt": createRpcCertificate({ rootCa, rpcKey, domain, now }).pem,
    "rpc.key": pkcs8Pem(rpcKey),
    "tmp-ca.key": pkcs8Pem(tempCa.key),
    "root-ca.key": pkcs8Pem(rootCa.key),
    "root-k256.key": rootK256,
    "bootstrap-info.json": bootstrapInfo(spkiDer(rootCa.key), secp256k1PublicKey(rootK256)),
    "rpc-domain": domain,
  };
}

/** Compact JSON; registration tools of older releases want `quote` and `eventlog` too (DS #539). */
const bootstrapInfo = (caPublicKey: Uint8Array, k256PublicKey: Uint8Array): string =>
  JSON.stringify({ ca_pubkey: toHex(caPublicKey), k256_pubkey: toHex(k256PublicKey), attestation: "", quote: "", eventlog: "" });

function newSecp256k1Scalar(): Uint8Array {
  for (let attempt = 0; attempt < 8; attempt++) {
    const scalar = new Uint8Array(randomBytes(32));
    try {
      secp256k1PublicKey(scalar);
      return scalar;
    } catch (error) {
      if (!(error instanceof KeysError)) throw error;
    }
  }
  throw new KmsError("key-folder-invalid", "random source gave no valid secp256k1 scalar in 8 draws");
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
