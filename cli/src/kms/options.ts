import { examples, output, repeatable, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of a key management service are called with. */

export const kmsCommand = (parent: Parent) =>
  parent.command("kms").summary("configuration, audit log, backup and restore of a key management service");

export const kmsCheckCommand = (parent: Parent) =>
  parent
    .command("check")
    .summary("say what is insecure in a KMS's configuration, and why")
    .description(
      "Load a configuration as the KMS would, and list the settings that let keys go to somebody who should not have them, doors that stand open, and keys that nothing reads. Exit code 3 where something is insecure.",
    )
    .option("-c, --config <file>", "kms.toml; without it the places where the KMS looks")
    .addOption(output())
    .addHelpText("before", examples(["dstack kms check -c kms.toml", "dstack kms check -c kms.toml -o json"]));
export type KmsCheckOptions = OptionsOf<typeof kmsCheckCommand>;

export const kmsAuditCommand = (parent: Parent) => parent.command("audit").summary("check and read a KMS's audit log");

export const kmsAuditVerifyCommand = (parent: Parent) =>
  parent
    .command("verify <file>")
    .summary("check that no line was changed, removed or added")
    .description(
      "Follow the chain of hashes from the first line to the last, through all segments of the log: FILE and FILE.N beside it. Exit code 3 at the first line that does not follow, which is named with its file.",
    )
    .option(
      "--head <hash>",
      "the head of the log as it was noted earlier (/readyz, /metrics, or the last check): the log must still lead to that line",
    )
    .option("--after <hash>", "earlier segments were checked and put away: the last hash of that check")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack kms audit verify /etc/kms/certs/audit.jsonl",
        "dstack kms audit verify audit.jsonl --head 3f1c…",
      ]),
    );
export type KmsAuditVerifyOptions = OptionsOf<typeof kmsAuditVerifyCommand>;

export const kmsAuditShowCommand = (parent: Parent) =>
  parent
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
      "before",
      examples([
        "dstack kms audit show audit.jsonl --result refused",
        "dstack kms audit show audit.jsonl --app 5bb4ff --since 2026-11-22T00:00:00Z -o json",
      ]),
    );
export type KmsAuditShowOptions = OptionsOf<typeof kmsAuditShowCommand>;

export const kmsKeygenCommand = (parent: Parent) =>
  parent
    .command("keygen")
    .summary("make an operator's key pair")
    .description(
      "Write an X25519 secret key, readable by you alone, and print the public key, which goes into core.backup.operators of the KMS's configuration.",
    )
    .requiredOption("--out <file>", "where the secret key goes; never replaced")
    .addOption(output())
    .addHelpText("before", examples(["dstack kms keygen --out ana.key"]));
export type KmsKeygenOptions = OptionsOf<typeof kmsKeygenCommand>;

export const kmsBackupCommand = (parent: Parent) =>
  parent
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
      "before",
      examples(["dstack kms backup --url http://127.0.0.1:8001 --root-ca root-ca.crt --out kms-backup.json"]),
    );
export type KmsBackupOptions = OptionsOf<typeof kmsBackupCommand>;

export const kmsRestoreCommand = (parent: Parent) =>
  parent
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
      "before",
      examples([
        "dstack kms restore kms-backup.json --url http://10.0.0.5:8000 --domain kms.example.com --session session.json",
      ]),
    );
export type KmsRestoreOptions = OptionsOf<typeof kmsRestoreCommand>;

export const kmsShareCommand = (parent: Parent) => parent.command("share").summary("an operator's part in a restore");

export const kmsShareOpenCommand = (parent: Parent) =>
  parent
    .command("open <backup>")
    .summary("open your share and seal it to a KMS that has proven itself")
    .description(
      "Verify the quote of the restoring KMS and its measurements, then open your share of the backup and seal it to that KMS alone. Exit code 3, and nothing is opened, where a check fails.",
    )
    .requiredOption("--key <file>", "your secret key")
    .requiredOption("--session <file>", "the session that `dstack kms restore` wrote")
    .requiredOption("--root-ca <pem>", "root CA certificate of the KMS that was backed up, from your own records")
    .requiredOption("--domain <name>", "name or address that the restored KMS is to serve under")
    .addOption(
      repeatable(
        "--mr-aggregated <hex>",
        "measurement that the restoring KMS may have, as the auth server allows it; repeat for several",
      ),
    )
    .addOption(repeatable("--accept-tcb <status>", "TCB status beside UpToDate that you accept; repeat for several"))
    .option("--root <pem>", "root certificate that TDX quotes must chain to, instead of Intel's")
    .addOption(repeatable("--pccs <url>", "where to fetch collateral; several are tried in order"))
    .requiredOption("--out <file>", "where the sealed share goes")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack kms share open kms-backup.json --key ana.key --session session.json --root-ca root-ca.crt --domain kms.example.com --mr-aggregated 8533… --out ana-share.json",
      ]),
    );
export type KmsShareOpenOptions = OptionsOf<typeof kmsShareOpenCommand>;

export const kmsShareSubmitCommand = (parent: Parent) =>
  parent
    .command("submit <share>")
    .summary("give a sealed share to the restoring KMS")
    .description(
      "Send a share that `dstack kms share open` wrote. Anybody may carry it: only that KMS can open it. With the last share that is needed the keys are installed and the KMS begins to serve.",
    )
    .requiredOption("--url <url>", "set-up listener of the restoring KMS")
    .option("--token-file <file>", "file with the set-up token, instead of DSTACK_KMS_SETUP_TOKEN")
    .addOption(output())
    .addHelpText("before", examples(["dstack kms share submit ana-share.json --url http://10.0.0.5:8000"]));
export type KmsShareSubmitOptions = OptionsOf<typeof kmsShareSubmitCommand>;
