import type { Command } from "@commander-js/extra-typings";
import { examples, output, repeatable, type OptionsOf } from "../terminal/options.ts";

/** What the commands of apps are called with. */

export const deployCommand = (parent: Command) =>
  parent
    .command("deploy")
    .summary("deploy a docker-compose file as a confidential app")
    .description(
      "Build the app's manifest, allow its hash, encrypt its environment, start its VM and wait until it answers.",
    )
    .requiredOption("-c, --compose <file>", "docker-compose.yaml to run")
    .requiredOption("-n, --name <name>", "name of the app")
    .addOption(repeatable("-e, --env <K=V>", "secret environment variable, encrypted to the app; repeatable"))
    .option("--env-file <file>", "file of K=V lines, encrypted to the app")
    .addOption(repeatable("-p, --port <[proto:][addr:]host:vm>", "map a host port to the VM; repeatable"))
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
    );
export type DeployOptions = OptionsOf<typeof deployCommand>;

export const appsCommand = (parent: Command) =>
  parent
    .command("apps")
    .summary("list apps")
    .addOption(output())
    .addHelpText("after", examples(["dstack apps", "dstack apps -o json"]));
export type AppsOptions = OptionsOf<typeof appsCommand>;

export const infoCommand = (parent: Command) =>
  parent
    .command("info <app>")
    .summary("show an app's state, boot phases and last error")
    .addOption(output())
    .addHelpText("after", examples(["dstack info hello"]));
export type InfoOptions = OptionsOf<typeof infoCommand>;

export const logsCommand = (parent: Command) =>
  parent
    .command("logs <app>")
    .summary("show an app's serial console and why a boot was refused")
    .option("-f, --follow", "keep printing")
    .option("--lines <n>", "how many lines from the end", "200")
    .addHelpText("after", examples(["dstack logs hello", "dstack logs -f hello"]));
export type LogsOptions = OptionsOf<typeof logsCommand>;

export const startCommand = (parent: Command) =>
  parent
    .command("start <app>")
    .summary("start an app's VM again")
    .addHelpText("after", examples(["dstack start hello"]));

export const stopCommand = (parent: Command) =>
  parent
    .command("stop <app>")
    .summary("stop an app's VM; its data is kept")
    .option("-f, --force", "do not wait for the guest to shut down")
    .addHelpText("after", examples(["dstack stop hello"]));
export type StopOptions = OptionsOf<typeof stopCommand>;

export const rmCommand = (parent: Command) =>
  parent
    .command("rm <app>")
    .summary("remove an app and its data")
    .addHelpText("after", examples(["dstack rm hello"]));

export const envCommand = (parent: Command) => parent.command("env").summary("change an app's encrypted environment");

export const envSetCommand = (parent: Command) =>
  parent
    .command("set <app> <pairs...>")
    .summary("replace the app's environment by these K=V pairs and restart it")
    .addHelpText("after", examples(["dstack env set hello GREETING_SECRET=new"]));

export const envShowCommand = (parent: Command) =>
  parent
    .command("show <app>")
    .summary("list the names that the app accepts; values are readable inside the app only")
    .addOption(output())
    .addHelpText("after", examples(["dstack env show hello"]));
export type EnvShowOptions = OptionsOf<typeof envShowCommand>;
