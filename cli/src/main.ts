import tab from "@bomb.sh/tab/commander";
import { Command, CommanderError, Option } from "commander";
import { errorChain } from "@dstack/rpc";
import { CliError } from "./errors.ts";
import { visible } from "./output.ts";
import { stackLayout } from "./stack/layout.ts";

// Commands are loaded when they run: the program answers --help at once.

const output = (): Option => new Option("-o, --output <format>", "text, or json for scripts").choices(["text", "json"]).default("text");

type Common = { output: "text" | "json" };

const collect = (value: string, all: readonly string[]): string[] => [...all, value];

/** The whole command line, built anew for each run and each test. */
export function createProgram(env: NodeJS.ProcessEnv): Command {
  const layout = stackLayout(env);
  const program = new Command("dstack")
    .description("Run an ordinary docker-compose.yaml in a confidential virtual machine, and prove it to others.")
    .version("0.6.0")
    .exitOverride()
    .showHelpAfterError("(add --help for usage)")
    .enablePositionalOptions();

  program
    .command("up")
    .summary("start the local deployment")
    .description("Start KMS, gateway and VMM on this host with a simulated TEE, deploy examples/hello, and stay until Ctrl-C.")
    .option("--once", "do everything once, print a JSON summary as the last line, take everything down")
    .option("--no-hello", "start the services only")
    .addHelpText("after", examples(["dstack up", "dstack up --once | tail -n 1"]))
    .action(async (options: { once?: boolean; hello: boolean }) => {
      const { up } = await import("./stack/up.ts");
      await up(layout, { once: options.once ?? false, hello: options.hello, env });
    });

  program
    .command("down")
    .summary("stop the local deployment")
    .description("Stop every VM and service of the local deployment. Data is kept unless --purge is given.")
    .option("--purge", "also delete all state: KMS root keys, disks, certificates, and the cached images")
    .addHelpText("after", examples(["dstack down", "dstack down --purge"]))
    .action(async (options: { purge?: boolean }) => {
      const { down } = await import("./stack/down.ts");
      await down(layout, options.purge ?? false);
    });

  program
    .command("doctor")
    .summary("check what this machine has and lacks")
    .addOption(output())
    .addHelpText("after", examples(["dstack doctor"]))
    .action(async (options: Common) => (await import("./commands/doctor.ts")).doctor(layout, env, options.output));

  program
    .command("deploy")
    .summary("deploy a docker-compose file as a confidential app")
    .description("Build the app's manifest, allow its hash, encrypt its environment, start its VM and wait until it answers.")
    .requiredOption("-c, --compose <file>", "docker-compose.yaml to run")
    .requiredOption("-n, --name <name>", "name of the app")
    .option("-e, --env <K=V>", "secret environment variable, encrypted to the app; repeatable", collect, [])
    .option("--env-file <file>", "file of K=V lines, encrypted to the app")
    .option("-p, --port <[proto:][addr:]host:vm>", "map a host port to the VM; repeatable", collect, [])
    .option("--image <name>", "guest OS image", "dstack-sim-0.6.0")
    .option("--vcpu <n>", "virtual CPUs", "2")
    .option("--memory <size>", "memory, e.g. 2048 or 2G", "2G")
    .option("--disk <size>", "data disk, e.g. 10 or 10G", "10G")
    .option("--secure-time", "wait for network time before asking for keys")
    .option("--storage-fs <fs>", "file system of the data disk", "ext4")
    .option("--public-logs", "let anyone read container logs on port 8090")
    .option("--allow-mutable", "accept image tags that cannot be pinned to a digest")
    .option("--no-wait", "return once the VM is started")
    .addOption(output())
    .addHelpText("after", examples(["dstack deploy -c docker-compose.yaml -n web", "dstack deploy -c docker-compose.yaml -n web -e API_KEY=s3cret -p 8080:80"]))
    .action(async (options: Common & Record<string, unknown>) => {
      const { deployCommand } = await import("./commands/deploy.ts");
      await deployCommand(layout, env, options as never);
    });

  program
    .command("apps")
    .summary("list apps")
    .addOption(output())
    .addHelpText("after", examples(["dstack apps", "dstack apps -o json"]))
    .action(async (options: Common) => (await import("./commands/apps.ts")).apps(layout, env, options.output));

  program
    .command("info <app>")
    .summary("show an app's state, boot phases and last error")
    .addOption(output())
    .addHelpText("after", examples(["dstack info hello"]))
    .action(async (app: string, options: Common) => (await import("./commands/apps.ts")).info(layout, env, app, options.output));

  program
    .command("logs <app>")
    .summary("show an app's serial console and why a boot was refused")
    .option("-f, --follow", "keep printing")
    .option("--lines <n>", "how many lines from the end", "200")
    .addHelpText("after", examples(["dstack logs hello", "dstack logs -f hello"]))
    .action(async (app: string, options: { follow?: boolean; lines: string }) => (await import("./commands/logs.ts")).logs(layout, env, app, options.follow ?? false, options.lines));

  for (const [verb, summary] of [
    ["stop", "stop an app's VM; its data is kept"],
    ["start", "start an app's VM again"],
    ["rm", "remove an app and its data"],
  ] as const) {
    const command = program.command(`${verb} <app>`).summary(summary).addHelpText("after", examples([`dstack ${verb} hello`]));
    if (verb === "stop") command.option("-f, --force", "do not wait for the guest to shut down");
    command.action(async (app: string, options: { force?: boolean }) => {
      const lifecycle = await import("./commands/lifecycle.ts");
      await lifecycle[verb === "rm" ? "remove" : verb](layout, env, app, options.force ?? false);
    });
  }

  const image = program.command("image").summary("build and list guest OS images");
  image
    .command("build")
    .summary("build a guest OS image from pinned Debian packages")
    .addOption(new Option("--flavour <flavour>", "which image").choices(["prod", "dev", "sim"]).default("sim"))
    .option("--update-lock", "resolve the packages anew and print what changed")
    .addHelpText("after", examples(["dstack image build", "dstack image build --flavour prod"]))
    .action(async (options: { flavour: "prod" | "dev" | "sim"; updateLock?: boolean }) => (await import("./commands/image.ts")).build(layout, options.flavour, options.updateLock ?? false));
  image
    .command("list")
    .summary("list the guest OS images on this host")
    .addOption(output())
    .addHelpText("after", examples(["dstack image list"]))
    .action(async (options: Common) => (await import("./commands/image.ts")).list(layout, options.output));

  program
    .command("verify <what>")
    .summary("fetch an app's evidence and check it")
    .description("Check an app by https:// URL or by name: each check is pass, fail, not applicable or not bound, with its reason. Exit code 3 where one fails.")
    .option("--root <pem>", "root certificate that TDX quotes must chain to, instead of Intel's")
    .option("--cacert <pem>", "certificate authority of the gateway's TLS certificate")
    .option("--kms-ca <pem>", "root CA certificate of the KMS that must have released the keys")
    .option("--pccs <url>", "where to fetch collateral")
    .option("--image-dir <dir>", "guest OS image to compare the measurements with")
    .addOption(output())
    .addHelpText("after", examples(["dstack verify hello", "dstack verify https://<app-id>.dstack.localhost:9443/"]))
    .action(async (what: string, options: Common & Record<string, string | undefined>) => {
      const { verifyCommand } = await import("./commands/verify.ts");
      process.exitCode = await verifyCommand(layout, env, what, options as never);
    });

  const envCommand = program.command("env").summary("change an app's encrypted environment");
  envCommand
    .command("set <app> <pairs...>")
    .summary("replace the app's environment by these K=V pairs and restart it")
    .addHelpText("after", examples(["dstack env set hello GREETING_SECRET=new"]))
    .action(async (app: string, pairs: string[]) => (await import("./commands/env.ts")).set(layout, env, app, pairs));
  envCommand
    .command("show <app>")
    .summary("list the names that the app accepts; values are readable inside the app only")
    .addOption(output())
    .addHelpText("after", examples(["dstack env show hello"]))
    .action(async (app: string, options: Common) => (await import("./commands/env.ts")).show(layout, env, app, options.output));

  tab(program);
  return program;
}

function examples(lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}`;
}

/** Runs one command line. Returns the exit code; never throws. */
export async function runCli(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  try {
    await createProgram(env).parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const text = error instanceof Error ? errorChain(error) : String(error);
    process.stderr.write(`dstack: ${text.split("\n").map(visible).join("\n")}\n`);
    if (error instanceof CliError && error.hint !== undefined) process.stderr.write(`        ${error.hint}\n`);
    if (env["DSTACK_DEBUG"] === "1" && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return error instanceof CliError ? error.exitCode : 1;
  }
}

if (import.meta.main) process.exitCode = await runCli(process.argv.slice(2), process.env);
