import { toHex } from "@dstack/bytes";
import { backupHash, decodeSession } from "@dstack/key-backup";
import type { Cli } from "../clients/cli.ts";
import { postToKms } from "../clients/kms-http.ts";
import { CliError } from "../terminal/errors.ts";
import { readBackup, readBytes, writeNew } from "./operator-files.ts";
import type { KmsRestoreOptions } from "./options.ts";

/** `dstack kms restore`: hands the backup over and keeps the session for the operators. */
export async function kmsRestore(cli: Cli, file: string, options: KmsRestoreOptions): Promise<void> {
  const bytes = await readBytes(file);
  const { header } = readBackup(bytes);
  const answer = await postToKms({
    url: options.url,
    path: `restore?domain=${encodeURIComponent(options.domain)}`,
    body: bytes,
    tokenFile: options.tokenFile,
    tokenVariable: "DSTACK_KMS_SETUP_TOKEN",
    env: cli.env,
  });
  const session = decodeSession(answer);
  if (session.backup !== backupHash(bytes))
    throw new CliError("failed", "the KMS answered with a session for another backup");
  if (session.domain !== options.domain)
    throw new CliError("failed", `the KMS answered with a session for ${session.domain}, not for ${options.domain}`);
  await writeNew(options.session, answer);
  if (options.output === "json")
    cli.out.json({
      session: options.session,
      public_key: toHex(session.publicKey),
      backup: session.backup,
      domain: session.domain,
      needed: header.threshold,
      operators: header.operators.map(toHex),
    });
  else
    cli.out.print(
      `${options.session}: give it to ${header.threshold} of the ${header.operators.length} operators; each runs \`dstack kms share open\` and checks this KMS before the share leaves`,
    );
}
