import tab from "@bomb.sh/tab/commander";
import { Command, CommanderError } from "commander";
import { errorChain } from "@dstack/rpc";
import { CliError } from "./errors.ts";
import { visible } from "./output.ts";
import { addAppCommands } from "./program/app-commands.ts";
import { addAuthCommands } from "./program/auth-commands.ts";
import { addCollateralCommands } from "./program/collateral-commands.ts";
import { addEvidenceCommands } from "./program/evidence-commands.ts";
import { addImageCommands } from "./program/image-commands.ts";
import { addKmsCommands } from "./program/kms-commands.ts";
import { addMeasureCommands } from "./program/measure-commands.ts";
import { addStackCommands } from "./program/stack-commands.ts";
import { addVerifyCommands } from "./program/verify-commands.ts";
import { stackLayout } from "./stack/layout.ts";

// The folder program/ describes commands; what they do is loaded when they run, so that --help answers at once.

/** The whole command line, built anew for each run and each test. */
export function createProgram(env: NodeJS.ProcessEnv): Command {
  const layout = stackLayout(env);
  const program = new Command("dstack")
    .description("Run an ordinary docker-compose.yaml in a confidential virtual machine, and prove it to others.")
    .version("0.6.0")
    .exitOverride()
    .showHelpAfterError("(add --help for usage)")
    .enablePositionalOptions();

  addStackCommands(program, layout, env);
  addAppCommands(program, layout, env);
  addImageCommands(program, layout);
  addVerifyCommands(program, layout, env);
  addEvidenceCommands(program);
  addMeasureCommands(program);
  addKmsCommands(program, env);
  addCollateralCommands(program, env);
  addAuthCommands(program, layout, env);

  tab(program);
  return program;
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
