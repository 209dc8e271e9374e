import { Option } from "@commander-js/extra-typings";
import { examples, output, repeatable, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of apps are called with. */

export const deployCommand = (parent: Parent) =>
  parent
    .command("deploy")
    .summary("deploy a docker-compose file as a confidential app")
    .description(
      "Build the app's manifest, allow its hash, encrypt its environment, start its VM and wait until it answers. For an app that exists it is an update, which keeps variables, ports and sizes that are not given. An update whose boot ends refused or failed is undone: exit code 1.",
    )
    .requiredOption("-c, --compose <file>", "docker-compose.yaml to run")
    .requiredOption("-n, --name <name>", "name of the app")
    .addOption(repeatable("-e, --env <K=V>", "secret environment variable, encrypted to the app; repeatable"))
    .option("--env-file <file>", "file of K=V lines, encrypted to the app")
    .addOption(repeatable("-p, --port <[proto:][addr:]host:vm>", "map a host port to the VM; repeatable"))
    .option("--drop-env", "do without the app's variables that are not given again")
    .option("--drop-ports", "do without the app's port mappings that are not given again")
    .option("--image <name>", "guest OS image; dstack-sim-0.6.0 for a new app")
    .option("--vcpu <n>", "virtual CPUs; 2 for a new app")
    .option("--memory <size>", "memory, e.g. 2048 or 2G; 2G for a new app")
    .option("--disk <size>", "data disk, e.g. 10 or 10G; 10G for a new app")
    .option("--secure-time", "wait for network time before asking for keys")
    .option("--no-secure-time", "do not wait for network time, as a new app")
    .addOption(
      new Option("--storage-fs <fs>", "file system of the data disk; ext4 for a new app").choices([
        "ext4",
        "zfs",
      ] as const),
    )
    .option("--public-logs", "let anyone read container logs on port 8090")
    .option("--no-public-logs", "keep container logs private, as a new app")
    .option("--allow-mutable", "accept image tags that cannot be pinned to a digest")
    .option("--app-id <id>", "the app's id, such as its contract's address; from the manifest where nothing is named")
    .option("--no-check", "do not ask the policy first; the KMS asks it when the VM boots")
    .option("--no-allow", "leave the policy as it is: the version must be allowed already")
    .option("--no-wait", "return once the VM is started")
    .option("--no-rollback", "leave a new version that does not boot in place, where an earlier one ran")
    .option("--dry-run", "deploy nothing: print what would be deployed and changed, and whether it may boot")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack deploy -c docker-compose.yaml -n web",
        "dstack deploy -c docker-compose.yaml -n web -e API_KEY=s3cret -p 8080:80",
        "dstack deploy -c docker-compose.yaml -n web --dry-run",
      ]),
    );
export type DeployOptions = OptionsOf<typeof deployCommand>;

export const appsCommand = (parent: Parent) =>
  parent
    .command("apps")
    .summary("list apps")
    .addOption(output())
    .addHelpText("before", examples(["dstack apps", "dstack apps -o json"]));
export type AppsOptions = OptionsOf<typeof appsCommand>;

export const infoCommand = (parent: Parent) =>
  parent
    .command("info <app>")
    .summary("show an app's state, boot phases and last error")
    .addOption(output())
    .addHelpText("before", examples(["dstack info hello"]));
export type InfoOptions = OptionsOf<typeof infoCommand>;

export const logsCommand = (parent: Parent) =>
  parent
    .command("logs <app>")
    .summary("show an app's serial console and why a boot was refused")
    .option("-f, --follow", "keep printing")
    .option("--lines <n>", "how many lines from the end", "200")
    .addHelpText("before", examples(["dstack logs hello", "dstack logs -f hello"]));
export type LogsOptions = OptionsOf<typeof logsCommand>;

export const startCommand = (parent: Parent) =>
  parent
    .command("start <app>")
    .summary("start an app's VM again")
    .addHelpText("before", examples(["dstack start hello"]));

export const stopCommand = (parent: Parent) =>
  parent
    .command("stop <app>")
    .summary("stop an app's VM; its data is kept")
    .option("-f, --force", "do not wait for the guest to shut down")
    .option("--timeout <time>", "how long the guest may take, such as 90s or 10m, before its power is cut", "3m")
    .addHelpText("before", examples(["dstack stop hello"]));
export type StopOptions = OptionsOf<typeof stopCommand>;

export const waitCommand = (parent: Parent) =>
  parent
    .command("wait <app>")
    .summary("wait until an app has booted and answers")
    .description(
      "What `dstack deploy` does after the start, for one that did not wait: once the app answers, the version that it replaced may no longer boot.",
    )
    .addHelpText("before", examples(["dstack wait hello"]));

export const rollbackCommand = (parent: Parent) =>
  parent
    .command("rollback <app>")
    .summary("put back the version that an app's last update replaced")
    .description(
      "Compose file, variables, ports, image and sizes come back as they were; the data disk stays. The version is allowed again, started and waited for; the one that it replaces may no longer boot then, and a second rollback brings it back.",
    )
    .option("--no-wait", "return once the VM is started")
    .addHelpText("before", examples(["dstack rollback hello"]));
export type RollbackOptions = OptionsOf<typeof rollbackCommand>;

export const rmCommand = (parent: Parent) =>
  parent
    .command("rm <app>")
    .summary("remove an app, its data and its versions' permission to boot")
    .addHelpText("before", examples(["dstack rm hello"]));

export const envCommand = (parent: Parent) => parent.command("env").summary("change an app's encrypted environment");

export const envSetCommand = (parent: Parent) =>
  parent
    .command("set <app> <pairs...>")
    .summary("replace the app's environment by these K=V pairs and restart it")
    .addHelpText("before", examples(["dstack env set hello GREETING_SECRET=new"]));

export const envShowCommand = (parent: Parent) =>
  parent
    .command("show <app>")
    .summary("list the names that the app accepts; values are readable inside the app only")
    .addOption(output())
    .addHelpText("before", examples(["dstack env show hello"]));
export type EnvShowOptions = OptionsOf<typeof envShowCommand>;
