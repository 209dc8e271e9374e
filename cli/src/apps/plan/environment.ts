import { readFile } from "node:fs/promises";
import { appId as asAppId, parseHex, parseHexOfLength, publicKey32 } from "@dstack/bytes";
import { isEnvName } from "@dstack/compose";
import { lintEnvironment } from "@dstack/compose/docker";
import { readTextIfExists } from "@dstack/files";
import { checkEnvPublicKeyFrom, encryptEnv, type EnvPair } from "@dstack/keys";
import { CliError } from "../../terminal/errors.ts";
import type { StackLayout } from "../../local/layout.ts";
import { vmmMethods, type VmmClient } from "../../clients/vmm-client.ts";
import type { AppRequest } from "./request.ts";

export interface EnvironmentPlan {
  /** Names that the app accepts. */
  readonly allowedEnvs: readonly string[];
  /** What is encrypted to the app; undefined where it keeps what it has. */
  readonly pairs: readonly EnvPair[] | undefined;
  /** For people. */
  readonly kept: readonly string[];
}

/**
 * The environment of a deployment. It is encrypted as a whole to the app, so one value cannot be changed beside
 * others that stay: an update that gives some names and not all is refused. Pure.
 * @param present names that the app accepts now
 * @throws CliError `usage` where values would be lost
 */
export function planEnvironment(request: AppRequest, present: readonly string[]): EnvironmentPlan {
  const { name, environment, dropEnvironment } = request;
  if (environment === undefined) {
    const allowedEnvs = dropEnvironment ? [] : present;
    return {
      allowedEnvs,
      pairs: undefined,
      kept: allowedEnvs.length === 0 ? [] : [`environment ${allowedEnvs.join(", ")}`],
    };
  }
  const allowedEnvs = environment.map(({ key }) => key);
  const lost = present.filter((key) => !allowedEnvs.includes(key));
  if (lost.length > 0 && !dropEnvironment)
    throw new CliError(
      "usage",
      `${lost.join(", ")} of ${name} would be unset: the environment is encrypted as a whole`,
      {
        hint: "nothing was deployed; give them too, give none to keep all, or --drop-env to do without them",
      },
    );
  return { allowedEnvs, pairs: environment.length === 0 ? undefined : environment, kept: [] };
}

/** Holds an environment to what guests take of it. @throws CliError `usage` that shows no value */
export function checkEnvironment(pairs: readonly EnvPair[]): void {
  const findings = lintEnvironment(new Map(pairs.map(({ key, value }) => [key, value])));
  if (findings.length > 0)
    throw new CliError("usage", findings.map(({ message }) => message).join("; "), {
      hint: "nothing was changed; put large data into an image or a volume, or fetch it when the app starts",
    });
}

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
