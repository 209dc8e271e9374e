import { Command } from "commander";
import type { DeployOptions } from "./contracts.ts";
import type { StackLayout } from "../local/layout.ts";
import { collect, type Common, examples, output } from "../terminal/options.ts";

type Options = Common & DeployOptions;

/** Where the policy is kept, the same for each verb. */
function withBackend(command: Command): Command {
  return command
    .option("--config <file>", "policy file that auth-simple reads; the local deployment's where nothing is named")
    .option("--contract <address>", "DstackKms that keeps the policy; also KMS_CONTRACT_ADDR")
    .option("--rpc <url>", "JSON-RPC endpoint, or several with commas; also ETH_RPC_URL, which keeps keys out of sight")
    .option("--chain-id <n>", "chain that the endpoints must be on; also ETH_CHAIN_ID")
    .option(
      "--confirmations <n>",
      "count blocks this far below the head, instead of finalized ones; also ETH_FINALITY_CONFIRMATIONS",
    )
    .option("--from-block <n>", "block from which on the contract is there", "0");
}

/** How a change of a contract leaves this machine. */
function withSending(command: Command): Command {
  return withBackend(command)
    .option("--key-file <file>", "private key that signs, readable by you alone; also PRIVATE_KEY")
    .option("--safe-file <file>", "send nothing: write the calls for Safe's transaction builder")
    .option("--safe <address>", "the Safe that the file is for")
    .option("--dry-run", "send nothing: try the calls on a copy of the chain's present state")
    .option("--sender <address>", "in a dry run, who makes the calls instead of the owner");
}

/** Who may boot: shown, changed, explained. */
export function addAuthCommands(program: Command, layout: StackLayout, env: NodeJS.ProcessEnv): void {
  const auth = program
    .command("auth")
    .summary("show, change and explain who may boot")
    .description(
      "Manage the policy by which a KMS releases keys: a file that auth-simple reads, or contracts that auth-eth asks. The verbs are the same for both.",
    )
    .argument("[old-name]", "a task or script of the reference: prints the command that does its work")
    .action(async (typed: string | undefined) => {
      const { oldNameFor } = await import("./old-names.ts");
      const row = typed === undefined ? undefined : oldNameFor(typed);
      if (row !== undefined) process.stdout.write(`${row.old}  ->  ${row.ours}\n`);
      else auth.help({ error: true });
    });
  addReading(auth, layout, env);
  addChanging(auth, layout, env);
  addContracts(auth, env);
}

function addReading(auth: Command, layout: StackLayout, env: NodeJS.ProcessEnv): void {
  withBackend(auth.command("show"))
    .summary("show what is allowed")
    .option("--app <app id>", "this app alone")
    .addOption(output())
    .addHelpText("after", examples(["dstack auth show", "dstack auth show --contract 0x… --rpc https://rpc.example"]))
    .action(async (options: Options) => (await import("./auth.ts")).authShow(layout, env, options));
  withBackend(auth.command("explain <request>"))
    .summary("say which rule allows or denies a boot, and what command would change that")
    .description(
      "The request is a file (as a webhook gets it, a line of its log, a record of the KMS's audit log), or the name or id of an app whose last boot was refused. Nothing is changed. Exit code 3 where the boot is denied.",
    )
    .option("--audit-log <file>", "audit log of the KMS that refused; the local deployment's where nothing is named")
    .addOption(output())
    .addHelpText(
      "after",
      examples(["dstack auth explain web", "dstack auth explain request.json --config auth-config.json"]),
    )
    .action(async (request: string, options: Options) => {
      process.exitCode = await (await import("./auth.ts")).authExplain(layout, env, request, options);
    });
  withBackend(auth.command("history"))
    .summary("list the changes of the policy, who made them and when")
    .option(
      "--signed-by <key>",
      "of a file: a key whose entries count, as this command prints it; repeatable. Entries of any other key break the history",
      collect,
      [],
    )
    .description(
      "Of a file: its signed history, checked. Of contracts: their events. Exit code 3 where a history does not hold.",
    )
    .addOption(output())
    .addHelpText("after", examples(["dstack auth history"]))
    .action(async (options: Options) => {
      process.exitCode = await (await import("./auth.ts")).authHistory(layout, env, options);
    });
  auth
    .command("conformance <url>")
    .summary("try a webhook of your own against everything that a KMS relies on")
    .option("--allowed <file>", "a boot request that your policy allows, so that more can be seen")
    .option("--token-file <file>", "bearer token that the webhook wants")
    .addOption(output())
    .addHelpText("after", examples(["dstack auth conformance http://127.0.0.1:3001 --allowed request.json"]))
    .action(async (url: string, { tokenFile, ...options }: Options & { tokenFile?: string }) => {
      process.exitCode = await (
        await import("./auth.ts")
      ).authConformance(url, { ...options, ...(tokenFile === undefined ? {} : { token: tokenFile }) });
    });
}

function addChanging(auth: Command, layout: StackLayout, env: NodeJS.ProcessEnv): void {
  for (const verb of ["allow", "deny"] as const) {
    withSending(auth.command(`${verb} <kind> [value]`))
      .summary(`${verb} an app, a manifest, a device, an OS image, a KMS`)
      .description(
        "Kinds: app, compose, device, any-device, os-image, kms, gateway. A value is hex, or a file that the hash is taken of: an app-compose.json, an image's folder, a boot request. A gateway that is not named is the local deployment's. The difference is printed before it is made.",
      )
      .option("--app <app id>", "the app that a manifest or device is for")
      .option("--kms", "the device is for a KMS")
      .addOption(output())
      .addHelpText(
        "after",
        examples([
          `dstack auth ${verb} os-image ~/.cache/dstack/images/dstack-0.6.0`,
          `dstack auth ${verb} compose app-compose.json --app 0x…`,
          `dstack auth ${verb} device 0x… --kms --contract 0x… --dry-run`,
        ]),
      )
      .action(async (kind: string, value: string | undefined, options: Options) =>
        (await import("./auth.ts")).authChange(layout, env, verb === "allow", kind, value, options),
      );
  }
  withSending(auth.command("diff <file>"))
    .summary("compare the policy with the one in a file")
    .description("Lines with + are in the file only, lines with - in the policy only. Exit code 3 where they differ.")
    .option("--apply", "make the policy what the file says")
    .addOption(output())
    .addHelpText(
      "after",
      examples([
        "dstack auth diff wanted.json",
        "dstack auth diff wanted.json --apply --contract 0x… --safe-file changes.json",
      ]),
    )
    .action(async (file: string, options: Options) => {
      process.exitCode = await (await import("./auth.ts")).authDiff(layout, env, file, options);
    });
}

function addContracts(auth: Command, env: NodeJS.ProcessEnv): void {
  withSending(auth.command("deploy").argument("<what>", "kms, kms-code, app-code or app"))
    .summary("create contracts")
    .option("--owner <address>", "who governs it; the key's own address where nothing is named")
    .option("--app-code <address>", "kms: code for new apps, instead of creating it")
    .option("--allow-any-device", "app: every device may boot it")
    .option("--require-tcb", "app: only fully patched platforms may boot it")
    .option("--disable-upgrades", "app: its code is fixed for good")
    .option("--device <id>", "app: a first device")
    .option("--compose <file>", "app: a first manifest")
    .addHelpText(
      "after",
      examples([
        "dstack auth deploy kms --rpc http://127.0.0.1:8545",
        "dstack auth deploy app --compose app-compose.json --contract 0x…",
      ]),
    )
    .action(async (what: string, options: Options) => (await import("./contracts.ts")).authDeploy(env, what, options));
  withSending(auth.command("upgrade <contract> [code]"))
    .summary("give a contract new code: at an address, or this version's")
    .addHelpText("after", examples(["dstack auth upgrade 0x… --dry-run"]))
    .action(async (contract: string, code: string | undefined, options: Options) =>
      (await import("./contracts.ts")).authUpgrade(env, contract, code, options),
    );
  for (const [usage, verb, summary] of [
    ["transfer <contract> <to>", "transfer", "offer a contract to a new owner, who must accept"],
    ["accept <contract>", "accept", "accept a contract that was offered"],
    ["disable-upgrades <app>", "disable-upgrades", "fix an app's code for good; cannot be undone"],
    ["require-tcb <app> <on|off>", "require-tcb", "boot an app on fully patched platforms only, or on others too"],
    ["set-app-code <address>", "set-app-code", "make new apps of the code at this address"],
  ] as const) {
    withSending(auth.command(usage))
      .summary(summary)
      .addHelpText("after", examples([`dstack auth ${usage.replace(/<[^>]+>/g, "0x…")}`]))
      .action(async (first: string, ...rest: unknown[]) => {
        const second = typeof rest[0] === "string" ? rest[0] : undefined;
        const options =
          rest.find(
            (value): value is Options => typeof value === "object" && value !== null && !(value instanceof Command),
          ) ?? ({} as Options);
        await (await import("./contracts.ts")).authContractCall(env, verb, first, second, options);
      });
  }
  withSending(auth.command("set-info <file>"))
    .summary("publish keys and evidence of a KMS, from its bootstrap-info.json")
    .addHelpText("after", examples(["dstack auth set-info bootstrap-info.json --contract 0x…"]))
    .action(async (file: string, options: Options) => (await import("./contracts.ts")).authSetInfo(env, file, options));
}
