import { examples, output, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of the local deployment are called with. */

export const upCommand = (parent: Parent) =>
  parent
    .command("up")
    .summary("start the local deployment")
    .description(
      "Start KMS, gateway and VMM on this host with a simulated TEE, deploy examples/hello, and stay until Ctrl-C.",
    )
    .option("--once", "do everything once, print a JSON summary as the last line, take everything down")
    .option("--no-hello", "start the services only")
    .option(
      "--auth-url <url>",
      "ask this authorization webhook instead of starting one; its policy is left alone, and hello is not deployed",
    )
    .option("--auth-token-file <file>", "bearer token that the webhook wants; read at each question")
    .option(
      "--auth-key <hex>",
      "the key that must have signed the webhook's answers, as `dstack auth answer-key` prints it",
    )
    .addHelpText(
      "before",
      examples(["dstack up", "dstack up --once | tail -n 1", "dstack up --auth-url http://127.0.0.1:8000"]),
    );
export type UpOptions = OptionsOf<typeof upCommand>;

export const downCommand = (parent: Parent) =>
  parent
    .command("down")
    .summary("stop the local deployment")
    .description("Stop every VM and service of the local deployment. Data is kept unless --purge is given.")
    .option("--purge", "also delete all state: KMS root keys, disks, certificates, and the cached images")
    .addHelpText("before", examples(["dstack down", "dstack down --purge"]));
export type DownOptions = OptionsOf<typeof downCommand>;

export const doctorCommand = (parent: Parent) =>
  parent
    .command("doctor")
    .summary("check what this machine has and lacks")
    .description("Exit code 1 where something is missing that the local deployment needs.")
    .addOption(output())
    .option("--unlock [file]", "free the locks of programs that are gone, of the local deployment or this one")
    .addHelpText("before", examples(["dstack doctor", "dstack doctor --unlock"]));
export type DoctorOptions = OptionsOf<typeof doctorCommand>;
