import type { Command } from "commander";
import type { StackLayout } from "../local/layout.ts";
import { type Common, examples, output } from "../terminal/options.ts";

/** The local deployment as a whole. */
export function addStackCommands(program: Command, layout: StackLayout, env: NodeJS.ProcessEnv): void {
  program
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
    .addHelpText(
      "after",
      examples(["dstack up", "dstack up --once | tail -n 1", "dstack up --auth-url http://127.0.0.1:8000"]),
    )
    .action(async (options: { once?: boolean; hello: boolean; authUrl?: string }) => {
      const { up } = await import("./up.ts");
      await up(layout, { once: options.once ?? false, hello: options.hello, authUrl: options.authUrl, env });
    });

  program
    .command("down")
    .summary("stop the local deployment")
    .description("Stop every VM and service of the local deployment. Data is kept unless --purge is given.")
    .option("--purge", "also delete all state: KMS root keys, disks, certificates, and the cached images")
    .addHelpText("after", examples(["dstack down", "dstack down --purge"]))
    .action(async (options: { purge?: boolean }) => {
      const { down } = await import("./down.ts");
      await down(layout, options.purge ?? false);
    });

  program
    .command("doctor")
    .summary("check what this machine has and lacks")
    .addOption(output())
    .option("--unlock [file]", "free the locks of programs that are gone, of the local deployment or this one")
    .addHelpText("after", examples(["dstack doctor", "dstack doctor --unlock"]))
    .action(async (options: Common & { unlock?: string | true }) => {
      if (options.unlock === undefined) return (await import("./doctor.ts")).doctor(layout, env, options.output);
      const { unlock } = await import("./unlock.ts");
      return unlock(layout, options.unlock === true ? undefined : options.unlock);
    });
}
