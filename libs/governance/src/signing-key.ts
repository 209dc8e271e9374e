import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { lockFileWhenFree, readTextIfExists, writeSecret } from "@dstack/files";
import { GovernanceError } from "./errors.ts";

/** How long another program may take to make the key. */
const LOCK_WAIT = { timeoutMs: 10_000, pauseMs: 50 };

/**
 * The Ed25519 key of a file (PKCS #8, PEM), made at first use with mode 0600 and never replaced: of programs that begin
 * together, one makes it.
 * @throws GovernanceError `config-invalid` where the file holds something else; FileLockError; the system's error
 */
export async function signingKey(path: string): Promise<KeyObject> {
  const known = await readTextIfExists(path);
  if (known !== undefined) return parsedKey(known, path);
  const lock = await lockFileWhenFree(`${path}.lock`, LOCK_WAIT);
  try {
    const made = await readTextIfExists(path);
    if (made !== undefined) return parsedKey(made, path);
    const { privateKey } = generateKeyPairSync("ed25519");
    await writeSecret(path, String(privateKey.export({ type: "pkcs8", format: "pem" })));
    return privateKey;
  } finally {
    await lock.release();
  }
}

/** What others pin: the 32 bytes of the public key in hex. */
export const publicKeyHex = (key: KeyObject): string =>
  createPublicKey(key).export({ type: "spki", format: "der" }).subarray(-32).toString("hex");

function parsedKey(pem: string, path: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch {
    // The library's own text may quote what stands in the file.
  }
  throw new GovernanceError(
    "config-invalid",
    `${path}: expected an Ed25519 key as PKCS #8 in PEM; move the file away and start again to have one made`,
  );
}
