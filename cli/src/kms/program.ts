import type { Command } from "commander";
import { collect, type Common, examples, output } from "../terminal/options.ts";

/** What an operator of a KMS does: check its configuration, read its audit log, back its root keys up, restore them. */
export function addKmsCommands(program: Command, env: NodeJS.ProcessEnv): void {
  const kms = program
    .command("kms")
    .summary("configuration, audit log, backup and restore of a key management service");
  addCheck(kms, env);
  addAudit(kms);
  addBackup(kms, env);
  addShares(kms, env);
}

function addCheck(kms: Command, env: NodeJS.ProcessEnv): void {
  kms
    .command("check")
    .summary("say what is insecure in a KMS's configuration, and why")
    .description(
      "Load a configuration as the KMS would, and list the settings that let keys go to somebody who should not have them, doors that stand open, and keys that nothing reads. Exit code 3 where something is insecure.",
    )
    .option("-c, --config <file>", "kms.toml; without it the places where the KMS looks")
    .addOption(output())
    .addHelpText("after", examples(["dstack kms check -c kms.toml", "dstack kms check -c kms.toml -o json"]))
    .action(async (options: Common & { readonly config?: string }) => {
      const { kmsCheckCommand } = await import("./check.ts");
      process.exitCode = await kmsCheckCommand(env, options);
    });
}

function addAudit(kms: Command): void {
  const audit = kms.command("audit").summary("check and read a KMS's audit log");
  audit
    .command("verify <file>")
    .summary("check that no line was changed, removed or added")
    .description(
      "Follow the chain of hashes from the first line to the last. Exit code 3 at the first line that does not follow, which is named.",
    )
    .option("--contains <hash>", "a line's hash from an earlier check: the log must still hold that line")
    .addOption(output())
    .addHelpText(
      "after",
      examples([
        "dstack kms audit verify /etc/kms/certs/audit.jsonl",
        "dstack kms audit verify audit.jsonl --contains 3f1c…",
      ]),
    )
    .action(async (file: string, options: Common & { readonly contains?: string }) => {
      const { auditVerifyCommand } = await import("./audit.ts");
      process.exitCode = await auditVerifyCommand(file, options);
    });
  audit
    .command("show <file>")
    .summary("list decisions")
    .description("List the newest records that match. The chain is followed on the way: exit code 3 where it breaks.")
    .option("--app <hex>", "app id, or its beginning")
    .option("--instance <hex>", "instance id, or its beginning")
    .option("--result <outcome>", "released, refused, failed, restored, ...")
    .option("--since <time>", "RFC 3339, e.g. 2026-11-22T20:00:00Z")
    .option("--until <time>", "RFC 3339")
    .option("--last <count>", "at most this many, the newest", "100")
    .addOption(output())
    .addHelpText(
      "after",
      examples([
        "dstack kms audit show audit.jsonl --result refused",
        "dstack kms audit show audit.jsonl --app 5bb4ff --since 2026-11-22T00:00:00Z -o json",
      ]),
    )
    .action(async (file: string, options: Common & Record<string, string>) => {
      const { auditShowCommand } = await import("./audit.ts");
      process.exitCode = await auditShowCommand(file, options as never);
    });
}

function addBackup(kms: Command, env: NodeJS.ProcessEnv): void {
  kms
    .command("keygen")
    .summary("make an operator's key pair")
    .description(
      "Write an X25519 secret key, readable by you alone, and print the public key, which goes into core.backup.operators of the KMS's configuration.",
    )
    .requiredOption("--out <file>", "where the secret key goes; never replaced")
    .addOption(output())
    .addHelpText("after", examples(["dstack kms keygen --out ana.key"]))
    .action(async (options: Common & { readonly out: string }) => {
      const { keygenCommand } = await import("./keygen.ts");
      process.exitCode = await keygenCommand(options);
    });
  kms
    .command("backup")
    .summary("fetch a sealed backup of the root keys")
    .description(
      "Have a KMS seal its root keys to the operators of its configuration, and check the file. It opens with the shares of as many operators as it says.",
    )
    .requiredOption("--url <url>", "administration listener, e.g. http://127.0.0.1:8001")
    .option("--token-file <file>", "file with the administration token, instead of DSTACK_KMS_ADMIN_TOKEN")
    .option("--root-ca <pem>", "root CA certificate of the KMS: the backup must be signed by its key")
    .requiredOption("--out <file>", "where the backup goes; never replaced")
    .addOption(output())
    .addHelpText(
      "after",
      examples(["dstack kms backup --url http://127.0.0.1:8001 --root-ca root-ca.crt --out kms-backup.json"]),
    )
    .action(async (options: Common & { readonly url: string; readonly out: string }) => {
      const { backupCommand } = await import("./backup.ts");
      process.exitCode = await backupCommand(env, options);
    });
  kms
    .command("restore <backup>")
    .summary("begin a restore in a fresh KMS")
    .description(
      "Give a backup to a KMS that has no keys yet and runs in a TEE. It answers with a session, which every operator checks before giving a share.",
    )
    .requiredOption("--url <url>", "set-up listener of the fresh KMS")
    .requiredOption("--domain <name>", "name or address at which guests reach it")
    .option("--token-file <file>", "file with the set-up token, instead of DSTACK_KMS_SETUP_TOKEN")
    .requiredOption("--session <file>", "where the session goes")
    .addOption(output())
    .addHelpText(
      "after",
      examples([
        "dstack kms restore kms-backup.json --url http://10.0.0.5:8000 --domain kms.example.com --session session.json",
      ]),
    )
    .action(
      async (
        backup: string,
        options: Common & { readonly url: string; readonly domain: string; readonly session: string },
      ) => {
        const { restoreCommand } = await import("./backup.ts");
        process.exitCode = await restoreCommand(env, backup, options);
      },
    );
}

function addShares(kms: Command, env: NodeJS.ProcessEnv): void {
  const share = kms.command("share").summary("an operator's part in a restore");
  share
    .command("open <backup>")
    .summary("open your share and seal it to a KMS that has proven itself")
    .description(
      "Verify the quote of the restoring KMS and its measurements, then open your share of the backup and seal it to that KMS alone. Exit code 3, and nothing is opened, where a check fails.",
    )
    .requiredOption("--key <file>", "your secret key")
    .requiredOption("--session <file>", "the session that `dstack kms restore` wrote")
    .requiredOption("--root-ca <pem>", "root CA certificate of the KMS that was backed up, from your own records")
    .option(
      "--mr-aggregated <hex>",
      "measurement that the restoring KMS may have, as the auth server allows it; repeat for several",
      collect,
      [],
    )
    .option("--accept-tcb <status>", "TCB status beside UpToDate that you accept; repeat for several", collect, [])
    .option("--root <pem>", "root certificate that TDX quotes must chain to, instead of Intel's")
    .option("--pccs <url>", "where to fetch collateral")
    .requiredOption("--out <file>", "where the sealed share goes")
    .addOption(output())
    .addHelpText(
      "after",
      examples([
        "dstack kms share open kms-backup.json --key ana.key --session session.json --root-ca root-ca.crt --mr-aggregated 8533… --out ana-share.json",
      ]),
    )
    .action(async (backup: string, options: Common & Record<string, never>) => {
      const { shareOpenCommand } = await import("./share.ts");
      process.exitCode = await shareOpenCommand(env, backup, options as never);
    });
  share
    .command("submit <share>")
    .summary("give a sealed share to the restoring KMS")
    .description(
      "Send a share that `dstack kms share open` wrote. Anybody may carry it: only that KMS can open it. With the last share that is needed the keys are installed and the KMS begins to serve.",
    )
    .requiredOption("--url <url>", "set-up listener of the restoring KMS")
    .option("--token-file <file>", "file with the set-up token, instead of DSTACK_KMS_SETUP_TOKEN")
    .addOption(output())
    .addHelpText("after", examples(["dstack kms share submit ana-share.json --url http://10.0.0.5:8000"]))
    .action(async (file: string, options: Common & { readonly url: string }) => {
      const { shareSubmitCommand } = await import("./backup.ts");
      process.exitCode = await shareSubmitCommand(env, file, options);
    });
}
