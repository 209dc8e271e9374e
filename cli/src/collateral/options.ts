import { InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { examples, output, repeatable, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of collateral are called with. */

export const collateralCommand = (parent: Parent) =>
  parent.command("collateral").summary("fetch, show and pin what Intel signs about platforms");

export const collateralFetchCommand = (parent: Parent) =>
  parent
    .command("fetch <quote>")
    .summary("fetch the collateral of a quote's platform")
    .description(
      "Fetch what a quote (a file, binary or hex) is verified with, check it, and print it in the JSON form that tools exchange.",
    )
    .addOption(repeatable("--pccs <url>", "base URL of a PCCS or of Intel's PCS; several are tried in order"))
    .option("--root <pem>", "root certificate that it must chain to, instead of Intel's")
    .option("--out <file>", "write it here instead of to standard output")
    .addHelpText(
      "before",
      examples([
        "dstack collateral fetch quote.bin --out collateral.json",
        "dstack collateral fetch quote.hex --pccs https://pccs.example.com",
      ]),
    );
export type CollateralFetchOptions = OptionsOf<typeof collateralFetchCommand>;

export const collateralShowCommand = (parent: Parent) =>
  parent
    .command("show <file>")
    .summary("show what collateral says, until when, and whether it holds")
    .description(
      "Show documents, dates, TCB levels and checks of a collateral file. Exit code 3 where a check fails; 1 where, with --min-days, a document or certificate ends sooner.",
    )
    .addOption(
      new Option("--min-days <days>", "exit with 1 where anything in it ends in fewer days").argParser(readDays),
    )
    .option("--time <rfc3339>", "judge it at this time instead of now")
    .option("--root <pem>", "root certificate that it must chain to, instead of Intel's")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack collateral show collateral.json",
        "dstack collateral show collateral.json --min-days 7 || mail -s 'collateral ends' ops@example.org < /dev/null",
        "dstack collateral show collateral.json --time 2026-03-01T00:00:00Z -o json",
      ]),
    );
export type CollateralShowOptions = OptionsOf<typeof collateralShowCommand>;

export const collateralPinCommand = (parent: Parent) =>
  parent
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
    .addHelpText("before", examples(["dstack collateral pin collateral.json"]));
export type CollateralPinOptions = OptionsOf<typeof collateralPinCommand>;

function readDays(text: string): number {
  const days = Number(text);
  if (!/^\d{1,5}(\.\d{1,3})?$/.test(text)) throw new InvalidArgumentError("expected a number of days");
  return days;
}
