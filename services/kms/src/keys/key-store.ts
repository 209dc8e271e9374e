/**
 * The key folder: the two roots and what hangs on them.
 * In: a folder, and roots that were made, fetched or restored. Out: the keys of this KMS, in memory.
 * One rename commits an installation; a killed one is finished or removed at the next start.
 * Every write happens under the folder's lock.
 * Never: new roots where there are some; a folder with half of its keys that serves; a key in a log.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseHex } from "@dstack/bytes";
import { asRefusal } from "@dstack/errors";
import { readTextIfExists, removeIfExists, writeSecret } from "@dstack/files";
import { p256FromPem, secp256k1PublicKey, type P256Key } from "@dstack/keys";
import type { Logger } from "@dstack/log";
import { loadCa, type SigningCa } from "@dstack/ratls";
import { createRootCa, createRpcCertificate, createTempCa, needsRenewal } from "../certificates/kms-certificates.ts";
import { KmsError } from "../errors.ts";
import { checkDomain } from "./domain.ts";
import { finishInstall } from "./install-root-keys.ts";
import { DOMAIN_FILE, INFO_FILE, keyFolderState, OWN_FILES } from "./key-files.ts";

export interface BootstrapInfo {
  readonly caPubkey: Uint8Array;
  readonly k256Pubkey: Uint8Array;
  readonly attestation: Uint8Array;
}

/** The keys of this KMS. Nothing of it is ever logged. */
export interface KeyStore {
  readonly rootCa: SigningCa;
  readonly tempCa: SigningCa;
  readonly tempCaKeyPem: string;
  /** 32 bytes. */
  readonly rootK256: Uint8Array;
  /** 33 bytes. */
  readonly rootK256PublicKey: Uint8Array;
  readonly rpcKey: P256Key;
  readonly rpcKeyPem: string;
  readonly rpcCertificatePem: string;
  readonly domain: string;
  readonly bootstrapInfo: BootstrapInfo | undefined;
}

/**
 * Brings a key folder to rest after whatever happened to it, before anything reads it: an interrupted
 * installation is finished, or removed where it never became valid. Call it under the folder's lock.
 * @returns `empty` where keys have yet to be made or fetched
 * @throws KmsError `key-folder-partial` where only some of the files are there: nothing is generated beside them
 */
export async function settleKeyFolder(folder: string, log: Logger): Promise<"empty" | "complete"> {
  if (await finishInstall(folder)) log.warn({ folder }, "finished an installation of keys that was interrupted");
  await removeTemporaryFiles(folder);
  const state = await keyFolderState(folder);
  switch (state.kind) {
    case "empty":
    case "complete":
      return state.kind;
    case "committed":
      throw new KmsError(
        "key-folder-partial",
        `${folder}: another process puts keys in place; one KMS at a time may use the folder`,
      );
    case "partial":
      throw new KmsError(
        "key-folder-partial",
        `${folder} holds ${state.present.join(", ")} but lacks ${state.missing.join(", ")}. Nothing is generated beside existing keys: ` +
          "restore the missing files from a backup, or, if no app ever used these keys, move the whole folder away and start again",
      );
  }
}

export interface OpenOptions {
  readonly folder: string;
  /** Replaces the stored domain; empty to keep it. */
  readonly domain: string;
  /** Unix seconds. */
  readonly now: number;
}

/**
 * The keys of a complete folder. The RPC certificate is issued anew, CA certificates in their last year too.
 * @throws KmsError `not-bootstrapped`, `key-folder-invalid`
 */
export async function openKeyStore({ folder, now, ...options }: OpenOptions): Promise<KeyStore> {
  const { kind } = await keyFolderState(folder);
  if (kind !== "complete") throw new KmsError("not-bootstrapped", `${folder} has no complete set of keys (${kind})`);
  const domain = checkDomain(
    options.domain === "" ? ((await readTextIfExists(join(folder, DOMAIN_FILE))) ?? "").trim() : options.domain,
  );
  const rootCa = await renewed(folder, "root-ca", createRootCa, now);
  const tempCa = await renewed(folder, "tmp-ca", createTempCa, now);
  const rootK256 = new Uint8Array(await readFile(join(folder, "root-k256.key")));
  const rpcKey = await readKey(folder, "rpc");
  const certificate = createRpcCertificate({ rootCa, rpcKey: rpcKey.key, domain, now });
  await writeSecret(join(folder, "rpc.crt"), certificate.pem);
  await writeSecret(join(folder, DOMAIN_FILE), domain);
  return {
    rootCa,
    tempCa,
    tempCaKeyPem: (await readKey(folder, "tmp-ca")).pem,
    rootK256,
    rootK256PublicKey: invalidUnless("root-k256.key", () => secp256k1PublicKey(rootK256)),
    rpcKey: rpcKey.key,
    rpcKeyPem: rpcKey.pem,
    rpcCertificatePem: certificate.pem,
    domain,
    bootstrapInfo: readBootstrapInfo(await readTextIfExists(join(folder, INFO_FILE))),
  };
}

/** For commands beside a running KMS: reads the root CA and changes nothing. @throws KmsError */
export async function readRootCa(folder: string): Promise<SigningCa> {
  const state = await keyFolderState(folder);
  if (state.kind !== "complete")
    throw new KmsError("not-bootstrapped", `${folder} has no complete set of keys; start the KMS once`);
  return readCa(folder, "root-ca");
}

/** What a kill left of a file that was being replaced; the names are those that `writeSecret` draws. */
async function removeTemporaryFiles(folder: string): Promise<void> {
  const ours = new RegExp(
    `^\\.(?:${OWN_FILES.map((name) => name.replace(".", "\\.")).join("|")})\\.[0-9a-f]{12}\\.tmp$`,
  );
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  for (const name of names.filter((candidate) => ours.test(candidate))) await removeIfExists(join(folder, name));
}

async function renewed(
  folder: string,
  name: string,
  create: (key: P256Key, now: number) => SigningCa,
  now: number,
): Promise<SigningCa> {
  const ca = await readCa(folder, name);
  if (!needsRenewal(ca, now)) return ca;
  const fresh = create(ca.key, now);
  await writeSecret(join(folder, `${name}.crt`), fresh.pem);
  return fresh;
}

async function readCa(folder: string, name: string): Promise<SigningCa> {
  const certificate = await readFile(join(folder, `${name}.crt`), "utf8");
  const { pem } = await readKey(folder, name);
  return invalidUnless(`${name}.crt`, () => loadCa(certificate, pem, name));
}

async function readKey(folder: string, name: string): Promise<{ readonly key: P256Key; readonly pem: string }> {
  const pem = await readFile(join(folder, `${name}.key`), "utf8");
  return { key: invalidUnless(`${name}.key`, () => p256FromPem(pem)), pem };
}

function invalidUnless<T>(name: string, read: () => T): T {
  return asRefusal(
    read,
    (cause) =>
      new KmsError("key-folder-invalid", `${name} in the key folder cannot be used; restore it from a backup`, {
        cause,
      }),
  );
}

function readBootstrapInfo(text: string | undefined): BootstrapInfo | undefined {
  if (text === undefined) return undefined;
  try {
    const json = JSON.parse(text) as Record<string, unknown>;
    const hex = (key: string): Uint8Array => parseHex(typeof json[key] === "string" ? json[key] : "");
    return { caPubkey: hex("ca_pubkey"), k256Pubkey: hex("k256_pubkey"), attestation: hex("attestation") };
  } catch {
    // Public information only, and absent in folders of older releases: the answer then says null.
    return undefined;
  }
}
