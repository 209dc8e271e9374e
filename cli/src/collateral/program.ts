import type { Command } from "commander";
import { type Common, collect, examples, output } from "../terminal/options.ts";

/** Intel's documents about a platform: fetched, read, and pinned for verification without a network. */
export function addCollateralCommands(program: Command, env: NodeJS.ProcessEnv): void {
  const collateral = program.command("collateral").summary("fetch, show and pin what Intel signs about platforms");
  collateral
    .command("fetch <quote>")
    .summary("fetch the collateral of a quote's platform")
    .description(
      "Fetch what a quote (a file, binary or hex) is verified with, check it, and print it in the JSON form that tools exchange.",
    )
    .option("--pccs <url>", "base URL of a PCCS or of Intel's PCS; several are tried in order", collect, [])
    .option("--root <pem>", "root certificate that it must chain to, instead of Intel's")
    .option("--out <file>", "write it here instead of to standard output")
    .addHelpText(
      "after",
      examples([
        "dstack collateral fetch quote.bin --out collateral.json",
        "dstack collateral fetch quote.hex --pccs https://pccs.example.com",
      ]),
    )
    .action(async (quote: string, options: { pccs: string[]; root?: string; out?: string }) =>
      (await import("./collateral.ts")).fetchCollateral(env, quote, options),
    );
  collateral
    .command("show <file>")
    .summary("show what collateral says, until when, and whether it holds")
    .description("Show documents, dates, TCB levels and checks of a collateral file. Exit code 3 where a check fails.")
    .option("--time <rfc3339>", "judge it at this time instead of now")
    .option("--root <pem>", "root certificate that it must chain to, instead of Intel's")
    .addOption(output())
    .addHelpText(
      "after",
      examples([
        "dstack collateral show collateral.json",
        "dstack collateral show collateral.json --time 2026-03-01T00:00:00Z -o json",
      ]),
    )
    .action(async (file: string, options: Common & { time?: string; root?: string }) => {
      process.exitCode = await (await import("./collateral.ts")).showCollateral(file, options);
    });
  collateral
    .command("pin <file>")
    .summary("verify with exactly this collateral from now on, offline")
    .description(
      "Keep a collateral file so that verification of its platforms uses exactly this and fetches nothing. It must hold now. Remove the printed file to go back.",
    )
    .option(
      "--quote <file>",
      "pin it for this quote's platform (needed where the quote names its certificate by encrypted PPID)",
    )
    .option("--root <pem>", "root certificate that it must chain to, instead of Intel's")
    .addHelpText("after", examples(["dstack collateral pin collateral.json"]))
    .action(async (file: string, options: { quote?: string; root?: string }) =>
      (await import("./collateral.ts")).pinCollateral(env, file, options),
    );
}
