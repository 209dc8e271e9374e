import { X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { equalBytes, toHex } from "@dstack/bytes";
import { backupHash, decodeBackup, decodeSession, KeyBackupError, type Backup } from "@dstack/key-backup";
import { CliError } from "../terminal/errors.ts";
import { postToKms } from "../clients/kms-http.ts";
import { print, printJson, say, type OutputFormat } from "../terminal/output.ts";

interface Common {
  readonly url: string;
  readonly tokenFile?: string;
  readonly output: OutputFormat;
}

/** `dstack kms backup`: a backup that was checked before it is kept. */
export async function backupCommand(
  env: NodeJS.ProcessEnv,
  options: Common & { readonly out: string; readonly rootCa?: string },
): Promise<number> {
  const bytes = await postToKms({
    url: options.url,
    path: "backup",
    body: new Uint8Array(),
    tokenFile: options.tokenFile,
    tokenVariable: "DSTACK_KMS_ADMIN_TOKEN",
    env,
  });
  const backup = readBackup(bytes);
  if (options.rootCa === undefined)
    say(
      "compare the root CA public key with your own records: without --root-ca nothing here says that this is your KMS",
    );
  else await requireRoot(backup, options.rootCa);
  await writeNew(options.out, bytes);
  const { header } = backup;
  if (options.output === "json") {
    printJson({
      file: options.out,
      sha256: backupHash(bytes),
      created: header.created,
      threshold: header.threshold,
      operators: header.operators.map(toHex),
      root_ca_public_key: toHex(header.rootCaPublicKey),
      root_k256_public_key: toHex(header.rootK256PublicKey),
    });
  } else {
    print(`${options.out}: sha256 ${backupHash(bytes)}, made ${header.created}`);
    print(
      `opens with ${header.threshold} of these ${header.operators.length} operators' keys:\n${header.operators.map((key) => `  ${toHex(key)}`).join("\n")}`,
    );
    print(`root CA public key ${toHex(header.rootCaPublicKey)}`);
  }
  return 0;
}

/** `dstack kms restore`: hands the backup over and keeps the session for the operators. */
export async function restoreCommand(
  env: NodeJS.ProcessEnv,
  file: string,
  options: Common & { readonly domain: string; readonly session: string },
): Promise<number> {
  const bytes = await readBytes(file);
  const { header } = readBackup(bytes);
  const answer = await postToKms({
    url: options.url,
    path: `restore?domain=${encodeURIComponent(options.domain)}`,
    body: bytes,
    tokenFile: options.tokenFile,
    tokenVariable: "DSTACK_KMS_SETUP_TOKEN",
    env,
  });
  const session = decodeSession(answer);
  if (session.backup !== backupHash(bytes))
    throw new CliError("failed", "the KMS answered with a session for another backup");
  await writeNew(options.session, answer);
  if (options.output === "json")
    printJson({
      session: options.session,
      public_key: toHex(session.publicKey),
      backup: session.backup,
      needed: header.threshold,
      operators: header.operators.map(toHex),
    });
  else
    print(
      `${options.session}: give it to ${header.threshold} of the ${header.operators.length} operators; each runs \`dstack kms share open\` and checks this KMS before the share leaves`,
    );
  return 0;
}

/** `dstack kms share submit`: with the last share that is needed the KMS goes on to serve. */
export async function shareSubmitCommand(env: NodeJS.ProcessEnv, file: string, options: Common): Promise<number> {
  const post = (path: string, body: Uint8Array): Promise<Uint8Array> =>
    postToKms({
      url: options.url,
      path,
      body,
      tokenFile: options.tokenFile,
      tokenVariable: "DSTACK_KMS_SETUP_TOKEN",
      env,
    });
  const { received, needed, restored } = JSON.parse(
    Buffer.from(await post("restore/share", await readBytes(file))).toString("utf8"),
  ) as { readonly received: number; readonly needed: number; readonly restored: boolean };
  if (restored) await post("finish", new Uint8Array());
  if (options.output === "json") printJson({ received, needed, restored });
  else
    print(
      restored
        ? "restored: the root keys are installed and the KMS begins to serve"
        : `share ${received} of ${needed} received`,
    );
  return 0;
}

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
