import { readdir } from "node:fs/promises";
import { KmsError } from "../errors.ts";

/** The seven files without which a KMS cannot serve, in the order in which they are put in place: roots last. */
export const KEY_FILES = [
  "tmp-ca.crt",
  "root-ca.crt",
  "rpc.crt",
  "rpc.key",
  "tmp-ca.key",
  "root-ca.key",
  "root-k256.key",
] as const;
/** Public; put in place before the keys. */
export const INFO_FILE = "bootstrap-info.json";
/** The name in the RPC certificate; the one file that is replaced when it is there already. */
export const DOMAIN_FILE = "rpc-domain";
/** Every file of a new KMS. Whatever else lies in the folder is somebody else's. */
export const OWN_FILES = [DOMAIN_FILE, INFO_FILE, ...KEY_FILES] as const;
export type OwnFile = (typeof OWN_FILES)[number];

/** A complete set of new files that is being put in place: once this folder exists, its keys are the keys. */
export const COMMITTED = ".bootstrap-ready";
/** A set that is still being written; it counts for nothing. */
export const STAGING = ".bootstrap-new";

export type KeyFolderState =
  | { readonly kind: "empty" }
  | { readonly kind: "committed" }
  | { readonly kind: "complete" }
  | { readonly kind: "partial"; readonly present: readonly string[]; readonly missing: readonly string[] };

/** What the folder holds. The one definition of "there are keys" (DS #1309, #1305). */
export async function keyFolderState(folder: string): Promise<KeyFolderState> {
  const names = new Set(
    await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    }),
  );
  if (names.has(COMMITTED)) return { kind: "committed" };
  const present = [...KEY_FILES, INFO_FILE].filter((name) => names.has(name));
  const missing = KEY_FILES.filter((name) => !names.has(name));
  if (missing.length === 0) return { kind: "complete" };
  return present.length === 0 ? { kind: "empty" } : { kind: "partial", present, missing };
}

/** @throws KmsError `not-bootstrapped` while the set of keys is not whole */
export async function requireKeys(folder: string): Promise<void> {
  const { kind } = await keyFolderState(folder);
  if (kind === "complete") return;
  throw new KmsError(
    "not-bootstrapped",
    kind === "empty"
      ? "there are no keys yet: bootstrap this KMS, or onboard it from another one, before you finish"
      : "the keys are not all in place: start this KMS again, which completes an installation that was interrupted",
  );
}
