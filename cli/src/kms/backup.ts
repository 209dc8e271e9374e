import { toHex } from "@dstack/bytes";
import { backupHash } from "@dstack/key-backup";
import type { Cli } from "../clients/cli.ts";
import { postToKms } from "../clients/kms-http.ts";
import { readBackup, requireRoot, writeNew } from "./operator-files.ts";
import type { KmsBackupOptions } from "./options.ts";

/** `dstack kms backup`: a backup that was checked before it is kept. */
export async function kmsBackup(cli: Cli, options: KmsBackupOptions): Promise<void> {
  const bytes = await postToKms({
    url: options.url,
    path: "backup",
    body: new Uint8Array(),
    tokenFile: options.tokenFile,
    tokenVariable: "DSTACK_KMS_ADMIN_TOKEN",
    env: cli.env,
  });
  const backup = readBackup(bytes);
  if (options.rootCa === undefined)
    cli.out.say(
      "compare the root CA public key with your own records: without --root-ca nothing here says that this is your KMS",
    );
  else await requireRoot(backup, options.rootCa);
  await writeNew(options.out, bytes);
  const { header } = backup;
  if (options.output === "json") {
    cli.out.json({
      file: options.out,
      sha256: backupHash(bytes),
      created: header.created,
      threshold: header.threshold,
      operators: header.operators.map(toHex),
      root_ca_public_key: toHex(header.rootCaPublicKey),
      root_k256_public_key: toHex(header.rootK256PublicKey),
    });
  } else {
    cli.out.print(`${options.out}: sha256 ${backupHash(bytes)}, made ${header.created}`);
    cli.out.print(
      `opens with ${header.threshold} of these ${header.operators.length} operators' keys:\n${header.operators.map((key) => `  ${toHex(key)}`).join("\n")}`,
    );
    cli.out.print(`root CA public key ${toHex(header.rootCaPublicKey)}`);
  }
}
