/**
 * What an operator of a key management service does: check its configuration, read its audit log, back its root keys
 * up, restore them.
 * In: files of the operator's, a KMS's administration or set-up listener, tokens from files or the environment.
 * Out: verdicts, a sealed backup, a share sealed to one KMS that proved itself.
 * Never: a share leaves before all checks passed, a key or backup is written over, or a token stands in an argument.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import {
  kmsAuditCommand,
  kmsAuditShowCommand,
  kmsAuditVerifyCommand,
  kmsBackupCommand,
  kmsCheckCommand,
  kmsCommand,
  kmsKeygenCommand,
  kmsRestoreCommand,
  kmsShareCommand,
  kmsShareOpenCommand,
  kmsShareSubmitCommand,
} from "./options.ts";

export function addKmsCommands(program: Parent, cli: Cli): void {
  const kms = kmsCommand(program);
  kmsCheckCommand(kms).action(async (options) => {
    cli.exit.code = await (await import("./check.ts")).kmsCheck(cli, options);
  });
  const audit = kmsAuditCommand(kms);
  kmsAuditVerifyCommand(audit).action(async (file, options) => {
    cli.exit.code = await (await import("./audit-verify.ts")).kmsAuditVerify(cli, file, options);
  });
  kmsAuditShowCommand(audit).action(async (file, options) => {
    cli.exit.code = await (await import("./audit-show.ts")).kmsAuditShow(cli, file, options);
  });
  kmsKeygenCommand(kms).action(async (options) => (await import("./keygen.ts")).kmsKeygen(cli, options));
  kmsBackupCommand(kms).action(async (options) => (await import("./backup.ts")).kmsBackup(cli, options));
  kmsRestoreCommand(kms).action(async (backup, options) =>
    (await import("./restore.ts")).kmsRestore(cli, backup, options),
  );
  const share = kmsShareCommand(kms);
  kmsShareOpenCommand(share).action(async (backup, options) => {
    cli.exit.code = await (await import("./share-open.ts")).kmsShareOpen(cli, backup, options);
  });
  kmsShareSubmitCommand(share).action(async (file, options) =>
    (await import("./share-submit.ts")).kmsShareSubmit(cli, file, options),
  );
}
