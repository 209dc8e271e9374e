import type { Command } from "commander";
import type { StackLayout } from "../local/layout.ts";
import { collect, type Common, examples, output } from "../terminal/options.ts";

/** Apps: deploy, watch, stop, environment. */
export function addAppCommands(program: Command, layout: StackLayout, env: NodeJS.ProcessEnv): void {
  program
    .command("deploy")
    .summary("deploy a docker-compose file as a confidential app")
    .description(
      "Build the app's manifest, allow its hash, encrypt its environment, start its VM and wait until it answers.",
    )
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
    .option("--app-id <id>", "the app's id, such as its contract's address; from the manifest where nothing is named")
    .option("--no-check", "do not ask the policy first; the KMS asks it when the VM boots")
    .option("--no-allow", "leave the policy as it is: the version must be allowed already")
    .option("--no-wait", "return once the VM is started")
    .addOption(output())
    .addHelpText(
      "after",
      examples([
        "dstack deploy -c docker-compose.yaml -n web",
        "dstack deploy -c docker-compose.yaml -n web -e API_KEY=s3cret -p 8080:80",
      ]),
    )
    .action(async (options: Common & Record<string, unknown>) => {
      const { deployCommand } = await import("./deploy.ts");
      await deployCommand(layout, env, options as never);
    });

  program
    .command("apps")
    .summary("list apps")
    .addOption(output())
    .addHelpText("after", examples(["dstack apps", "dstack apps -o json"]))
    .action(async (options: Common) => (await import("./apps.ts")).apps(layout, env, options.output));

  program
    .command("info <app>")
    .summary("show an app's state, boot phases and last error")
    .addOption(output())
    .addHelpText("after", examples(["dstack info hello"]))
    .action(async (app: string, options: Common) => (await import("./apps.ts")).info(layout, env, app, options.output));

  program
    .command("logs <app>")
    .summary("show an app's serial console and why a boot was refused")
    .option("-f, --follow", "keep printing")
    .option("--lines <n>", "how many lines from the end", "200")
    .addHelpText("after", examples(["dstack logs hello", "dstack logs -f hello"]))
    .action(async (app: string, options: { follow?: boolean; lines: string }) =>
      (await import("./logs.ts")).logs(layout, env, app, options.follow ?? false, options.lines),
    );

  for (const [verb, summary] of [
    ["stop", "stop an app's VM; its data is kept"],
    ["start", "start an app's VM again"],
    ["rm", "remove an app and its data"],
  ] as const) {
    const command = program
      .command(`${verb} <app>`)
      .summary(summary)
      .addHelpText("after", examples([`dstack ${verb} hello`]));
    if (verb === "stop") command.option("-f, --force", "do not wait for the guest to shut down");
    command.action(async (app: string, options: { force?: boolean }) => {
      const lifecycle = await import("./lifecycle.ts");
      await lifecycle[verb === "rm" ? "remove" : verb](layout, env, app, options.force ?? false);
    });
  }

  const envCommand = program.command("env").summary("change an app's encrypted environment");
  envCommand
    .command("set <app> <pairs...>")
    .summary("replace the app's environment by these K=V pairs and restart it")
    .addHelpText("after", examples(["dstack env set hello GREETING_SECRET=new"]))
    .action(async (app: string, pairs: string[]) => (await import("./env.ts")).set(layout, env, app, pairs));
  envCommand
    .command("show <app>")
    .summary("list the names that the app accepts; values are readable inside the app only")
    .addOption(output())
    .addHelpText("after", examples(["dstack env show hello"]))
    .action(async (app: string, options: Common) => (await import("./env.ts")).show(layout, env, app, options.output));
}
