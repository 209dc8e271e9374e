import { readFile } from "node:fs/promises";
import { appId as asAppId, parseHex, parseHexOfLength, publicKey32 } from "@dstack/bytes";
import { isEnvName } from "@dstack/compose";
import { readTextIfExists } from "@dstack/files";
import { checkEnvPublicKeyFrom, encryptEnv, type EnvPair } from "@dstack/keys";
import { CliError } from "../terminal/errors.ts";
import type { StackLayout } from "../local/layout.ts";
import { vmmMethods, type VmmClient } from "../clients/vmm-client.ts";

/**
 * `K=V` arguments, then the lines of an environment file (blank lines and `#` comments skipped);
 * a later value of a name replaces an earlier one.
 * @throws CliError `usage`
 */
export async function readEnvironment(pairs: readonly string[], file: string | undefined): Promise<readonly EnvPair[]> {
  const lines =
    file === undefined
      ? []
      : (await readFile(file, "utf8"))
          .split(/\r?\n/)
          .filter((line) => line.trim() !== "" && !line.trimStart().startsWith("#"));
  const values = new Map<string, string>();
  for (const text of [...lines, ...pairs]) {
    const equals = text.indexOf("=");
    const key = text.slice(0, Math.max(0, equals)).trim();
    // The value never appears in the message: it is a secret.
    if (!isEnvName(key))
      throw new CliError(
        "usage",
        `environment variable "${equals < 0 ? "(no = sign)" : key}": expected NAME=VALUE with a name of letters, digits and _`,
      );
    values.set(key, text.slice(equals + 1));
  }
  return [...values].map(([key, value]) => ({ key, value }));
}

/**
 * Encrypts the environment so that only the app with this id can read it. The key comes from the
 * KMS through the VMM, so its signature is checked against the KMS's root key first.
 * @throws CliError when the key is not signed by the trusted KMS
 */
export async function encryptEnvironment(
  client: VmmClient,
  layout: StackLayout,
  appId: string,
  pairs: readonly EnvPair[],
): Promise<Uint8Array> {
  const id = asAppId(parseHexOfLength(appId, 20, "app id"));
  const answer = await client.call(vmmMethods.getAppEnvEncryptPubKey, { appId: id });
  const publicKey = publicKey32(answer.publicKey);
  const check = checkEnvPublicKeyFrom(
    [await trustedKmsKey(layout)],
    { appId: id, publicKey, signature: answer.signatureV1, timestamp: answer.timestamp },
    { now: BigInt(Math.floor(Date.now() / 1000)) },
  );
  if (check.kind === "refused")
    throw new CliError("denied", `the environment key is not from the trusted KMS: ${check.reason}`, {
      hint: "nothing was sent; check which KMS the VMM uses",
    });
  return encryptEnv(pairs, publicKey);
}

/** The KMS's root secp256k1 key (33 bytes) as the KMS itself wrote it at bootstrap. */
async function trustedKmsKey(layout: StackLayout): Promise<Uint8Array> {
  const path = `${layout.kmsCerts}/bootstrap-info.json`;
  const text = await readTextIfExists(path);
  if (text === undefined)
    throw new CliError("failed", `${path} is missing, so the KMS's key is not known`, {
      hint: "start the local deployment with `dstack up`",
    });
  const key = (JSON.parse(text) as { k256_pubkey?: unknown }).k256_pubkey;
  if (typeof key !== "string") throw new CliError("failed", `${path} has no k256_pubkey`);
  return parseHex(key, "k256_pubkey");
}
