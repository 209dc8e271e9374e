import type { Command } from "commander";
import type { StackLayout } from "../stack/layout.ts";
import { type Common, examples, output } from "./options.ts";

/** Checks of evidence, from a running app to a single file. */
export function addVerifyCommands(program: Command, layout: StackLayout, env: NodeJS.ProcessEnv): void {
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
      const { verifyCommand } = await import("../commands/verify.ts");
      process.exitCode = await verifyCommand(layout, env, what, options as never);
    });
}
