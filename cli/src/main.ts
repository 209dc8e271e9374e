import { PRODUCT_VERSION } from "@dstack/proto/wire";
import tab from "@bomb.sh/tab/commander";
import type { Command as UntypedCommand } from "commander";
import { Command, CommanderError } from "@commander-js/extra-typings";
import { errorChain } from "@dstack/errors";
import { CliError, EXIT_CODES } from "./terminal/errors.ts";
import { examples } from "./terminal/options.ts";
import { visible } from "./terminal/output.ts";
import { addAppCommands } from "./apps/program.ts";
import { addAuthCommands } from "./auth/program.ts";
import { addCollateralCommands } from "./collateral/program.ts";
import { addEvidenceCommands } from "./evidence/program.ts";
import { addImageCommands } from "./images/program.ts";
import { addKmsCommands } from "./kms/program.ts";
import { addMeasureCommands } from "./measure/program.ts";
import { addStackCommands } from "./stack/program.ts";
import { addTcbCommands } from "./tcb/program.ts";
import { addVerifyCommands } from "./verify/program.ts";
import { createCli, type Cli } from "./clients/cli.ts";

// Each room's program.ts describes commands; what they do is loaded when they run, so that --help answers at once.

/** The whole command line, built anew for each run and each test. */
export function createProgram(cli: Cli): Command {
  const program = new Command("dstack")
    .description("Run an ordinary docker-compose.yaml in a confidential virtual machine, and prove it to others.")
    .version(PRODUCT_VERSION)
    .exitOverride()
    .showHelpAfterError("(add --help for usage)")
    .enablePositionalOptions()
    .addHelpText("before", examples(["npm start", "dstack deploy -c docker-compose.yaml -n web", "dstack verify web"]))
    .addHelpText("after", `\nExit codes: ${EXIT_CODES.map(({ code, meaning }) => `${code} ${meaning}`).join("; ")}.`);

  addStackCommands(program, cli);
  addAppCommands(program, cli);
  addImageCommands(program, cli);
  addVerifyCommands(program, cli);
  addTcbCommands(program, cli);
  addEvidenceCommands(program, cli);
  addMeasureCommands(program, cli);
  addKmsCommands(program, cli);
  addCollateralCommands(program, cli);
  addAuthCommands(program, cli);

  // The same class at run time; its plain types do not know what each option is called.
  tab(program as unknown as UntypedCommand);
  return program;
}

/** Runs one command line. Returns the exit code; never throws. */
export async function runCli(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  try {
    const cli = createCli(env);
    await createProgram(cli).parseAsync([...args], { from: "user" });
    return cli.exit.code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const text = error instanceof Error ? errorChain(error) : String(error);
    process.stderr.write(`dstack: ${text.split("\n").map(visible).join("\n")}\n`);
    if (error instanceof CliError && error.hint !== undefined) process.stderr.write(`        ${error.hint}\n`);
    if (env["DSTACK_DEBUG"] === "1" && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return error instanceof CliError ? error.exitCode : 1;
  }
}

/** As a program that the signal ended: whoever reads may stop reading, `dstack logs web | head` for one. */
const CODE_OF_SIGPIPE = 128 + 13;

if (import.meta.main) {
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(CODE_OF_SIGPIPE);
      throw error;
    });
  process.exitCode = await runCli(process.argv.slice(2), process.env);
}
