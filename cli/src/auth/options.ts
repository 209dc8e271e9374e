import { examples, output, repeatable, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of authorization are called with. */

/** Where the policy is kept, the same for each verb. */
const withBackend = <Usage extends string>(parent: Parent, usage: Usage) =>
  parent
    .command(usage)
    .option("--config <file>", "policy file that auth-simple reads; the local deployment's where nothing is named")
    .option("--contract <address>", "DstackKms that keeps the policy; also KMS_CONTRACT_ADDR")
    .option("--rpc <url>", "JSON-RPC endpoint, or several with commas; also ETH_RPC_URL, which keeps keys out of sight")
    .option("--chain-id <n>", "chain that the endpoints must be on; also ETH_CHAIN_ID")
    .option(
      "--confirmations <n>",
      "count blocks this far below the head, instead of finalized ones; also ETH_FINALITY_CONFIRMATIONS",
    )
    .option("--from-block <n>", "block from which on the contract is there", "0");

/** How a change of a contract leaves this machine. */
const withSending = <Usage extends string>(parent: Parent, usage: Usage) =>
  withBackend(parent, usage)
    .option("--key-file <file>", "private key that signs, readable by you alone; also PRIVATE_KEY")
    .option("--safe-file <file>", "send nothing: write the calls for Safe's transaction builder")
    .option("--safe <address>", "the Safe that the file is for")
    .option("--dry-run", "send nothing: try the calls on a copy of the chain's present state")
    .option("--sender <address>", "in a dry run, who makes the calls instead of the owner");
export type SendingOptions = Partial<Readonly<ReturnType<ReturnType<typeof withSending<string>>["opts"]>>>;

export const authCommand = (parent: Parent) =>
  parent
    .command("auth")
    .summary("show, change and explain who may boot")
    .description(
      "Manage the policy by which a KMS releases keys: a file that auth-simple reads, or contracts that auth-eth asks. The verbs are the same for both.",
    )
    .argument("[old-name]", "a task or script of the reference: prints the command that does its work")
    .addHelpText("before", examples(["dstack auth show", "dstack auth explain web", "dstack auth kms:add-image"]));

export const authShowCommand = (parent: Parent) =>
  withBackend(parent, "show")
    .summary("show what is allowed")
    .option("--app <app id>", "this app alone")
    .addOption(output())
    .addHelpText("before", examples(["dstack auth show", "dstack auth show --contract 0x… --rpc https://rpc.example"]));
export type AuthShowOptions = OptionsOf<typeof authShowCommand>;

export const authExplainCommand = (parent: Parent) =>
  withBackend(parent, "explain <request>")
    .summary("say which rule allows or denies a boot, and what command would change that")
    .description(
      "The request is a file (as a webhook gets it, a line of its log, a record of the KMS's audit log), or the name or id of an app whose last boot was refused. Nothing is changed. Exit code 3 where the boot is denied.",
    )
    .option("--audit-log <file>", "audit log of the KMS that refused; the local deployment's where nothing is named")
    .addOption(output())
    .addHelpText(
      "before",
      examples(["dstack auth explain web", "dstack auth explain request.json --config auth-config.json"]),
    );
export type AuthExplainOptions = OptionsOf<typeof authExplainCommand>;

export const authHistoryCommand = (parent: Parent) =>
  withBackend(parent, "history")
    .summary("list the changes of the policy, who made them and when")
    .description(
      "Of a file: its signed history, checked. Of contracts: their events. Exit code 3 where a history does not hold.",
    )
    .addOption(
      repeatable(
        "--signed-by <key>",
        "of a file: a key whose entries count, as this command prints it; repeatable. Entries of any other key break the history",
      ),
    )
    .addOption(output())
    .addHelpText("before", examples(["dstack auth history"]));
export type AuthHistoryOptions = OptionsOf<typeof authHistoryCommand>;

export const authConformanceCommand = (parent: Parent) =>
  parent
    .command("conformance <url>")
    .summary("try a webhook of your own against everything that a KMS relies on")
    .description("Exit code 3 where a behaviour is missing.")
    .option("--allowed <file>", "a boot request that your policy allows, so that more can be seen")
    .option("--token-file <file>", "bearer token that the webhook wants")
    .option("--answer-key <hex>", "the key that must sign its answers; without it the one that the webhook tells")
    .addOption(output())
    .addHelpText("before", examples(["dstack auth conformance http://127.0.0.1:3001 --allowed request.json"]));
export type AuthConformanceOptions = OptionsOf<typeof authConformanceCommand>;

export const authAnswerKeyCommand = (parent: Parent) =>
  parent
    .command("answer-key <file>")
    .summary("print the public key that signs a webhook's answers")
    .description(
      "The file is the one that auth-simple and auth-eth are given in ANSWER_KEY_PATH; it is made where it is not there. What is printed is pinned in `core.auth_api.webhook.answer_keys` of kms.toml.",
    )
    .addOption(output())
    .addHelpText("before", examples(["dstack auth answer-key /etc/dstack/answer-key.pem"]));
export type AuthAnswerKeyOptions = OptionsOf<typeof authAnswerKeyCommand>;

const changing = <Verb extends string>(parent: Parent, verb: Verb) =>
  withSending(parent, `${verb} <kind> [value]`)
    .summary(`${verb} an app, a manifest, a device, an OS image, a KMS, an advisory, a TCB status`)
    .description(
      "Kinds: app, compose, device, any-device, os-image, kms, gateway, advisory, status. A value is hex, or a file that the hash is taken of: an app-compose.json, an image's folder, a boot request. An advisory is an id of Intel's, or several with commas; a status is a TCB status, such as SWHardeningNeeded; both are for policies in files. A gateway that is not named is the local deployment's. The difference is printed before it is made.",
    )
    .option("--app <app id>", "the app that a manifest or device is for")
    .option("--kms", "the device is for a KMS")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        `dstack auth ${verb} os-image ~/.cache/dstack/images/dstack-0.6.0`,
        `dstack auth ${verb} compose app-compose.json --app 0x…`,
        `dstack auth ${verb} advisory INTEL-SA-00837`,
        `dstack auth ${verb} device 0x… --kms --contract 0x… --dry-run`,
      ]),
    );
export const authAllowCommand = (parent: Parent) => changing(parent, "allow");
export type AuthAllowOptions = OptionsOf<typeof authAllowCommand>;
export const authDenyCommand = (parent: Parent) => changing(parent, "deny");
export type AuthDenyOptions = OptionsOf<typeof authDenyCommand>;

export const authDiffCommand = (parent: Parent) =>
  withSending(parent, "diff <file>")
    .summary("compare the policy with the one in a file")
    .description("Lines with + are in the file only, lines with - in the policy only. Exit code 3 where they differ.")
    .option("--apply", "make the policy what the file says")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack auth diff wanted.json",
        "dstack auth diff wanted.json --apply --contract 0x… --safe-file changes.json",
      ]),
    );
export type AuthDiffOptions = OptionsOf<typeof authDiffCommand>;

export const authImportCommand = (parent: Parent) =>
  withSending(parent, "import <file>")
    .summary("allow what a policy file lists, such as one written for dstack-auth")
    .description(
      'What the file lists is allowed beside what is allowed already; nothing is taken away. Empty lists that dstack-auth reads as "any" allow nothing here: each is told, with the command that says "any". A file that is broken shuts everything there; here auth-simple goes on with the last good one.',
    )
    .addOption(output())
    .addHelpText("before", examples(["dstack auth import auth-allowlist.json --config auth-config.json"]));
export type AuthImportOptions = OptionsOf<typeof authImportCommand>;

export const authDeployCommand = (parent: Parent) =>
  withSending(parent, "deploy")
    .argument("<what>", "kms, kms-code, app-code or app")
    .summary("create contracts")
    .option("--owner <address>", "who governs it; the key's own address where nothing is named")
    .option("--app-code <address>", "kms: code for new apps, instead of creating it")
    .option("--allow-any-device", "app: every device may boot it")
    .option("--require-tcb", "app: only fully patched platforms may boot it")
    .option("--disable-upgrades", "app: its code is fixed for good")
    .option("--device <id>", "app: a first device")
    .option("--compose <file>", "app: a first manifest")
    .addHelpText(
      "before",
      examples([
        "dstack auth deploy kms --rpc http://127.0.0.1:8545",
        "dstack auth deploy app --compose app-compose.json --contract 0x…",
      ]),
    );
export type AuthDeployOptions = OptionsOf<typeof authDeployCommand>;

export const authUpgradeCommand = (parent: Parent) =>
  withSending(parent, "upgrade <contract> [code]")
    .summary("give a contract new code: at an address, or this version's")
    .addHelpText("before", examples(["dstack auth upgrade 0x… --dry-run"]));
export type AuthUpgradeOptions = OptionsOf<typeof authUpgradeCommand>;

export const authTransferCommand = (parent: Parent) =>
  withSending(parent, "transfer <contract> <to>")
    .summary("offer a contract to a new owner, who must accept")
    .addHelpText("before", examples(["dstack auth transfer 0x… 0x…"]));

export const authAcceptCommand = (parent: Parent) =>
  withSending(parent, "accept <contract>")
    .summary("accept a contract that was offered")
    .addHelpText("before", examples(["dstack auth accept 0x…"]));

export const authDisableUpgradesCommand = (parent: Parent) =>
  withSending(parent, "disable-upgrades <app>")
    .summary("fix an app's code for good; cannot be undone")
    .addHelpText("before", examples(["dstack auth disable-upgrades 0x…"]));

export const authRequireTcbCommand = (parent: Parent) =>
  withSending(parent, "require-tcb <app> <on|off>")
    .summary("boot an app on fully patched platforms only, or on others too")
    .addHelpText("before", examples(["dstack auth require-tcb 0x… on"]));

export const authSetAppCodeCommand = (parent: Parent) =>
  withSending(parent, "set-app-code <address>")
    .summary("make new apps of the code at this address")
    .addHelpText("before", examples(["dstack auth set-app-code 0x…"]));

export const authSetInfoCommand = (parent: Parent) =>
  withSending(parent, "set-info <file>")
    .summary("publish keys and evidence of a KMS, from its bootstrap-info.json")
    .addHelpText("before", examples(["dstack auth set-info bootstrap-info.json --contract 0x…"]));
export type AuthSetInfoOptions = OptionsOf<typeof authSetInfoCommand>;
