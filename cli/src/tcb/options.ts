import { InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { examples, output, repeatable, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands about platforms are called with. */

export const tcbCommand = (parent: Parent) =>
  parent.command("tcb").summary("how current the platform under an app, a KMS or a quote is, and will be");

export const tcbStatusCommand = (parent: Parent) =>
  parent
    .command("status [what]")
    .summary("today's verdict on a platform, and the one that Intel has announced")
    .description(
      "Judge the platform of a file (quote, evidence, bundle), of an app by id or name, or of an app, a KMS or a gateway by https:// URL; without one, that of the first app on this machine that answers. By Intel's documents in force, by its early ones, and by any evaluation number. Says what is short and what raises it. Exit code 0 where each accepts the platform, 3 where one does not, 1 where one cannot be had.",
    )
    .addOption(evaluations())
    .option("--no-early", "leave out Intel's early documents")
    .option("--policy <file>", "demands on the platform, in JSON (see dstack verify quote), instead of UpToDate alone")
    .option("--time <rfc3339>", "judge it at this time instead of now")
    .option("--root <pem>", "root certificate that TDX quotes must chain to, instead of Intel's")
    .addOption(repeatable("--pccs <url>", "where to fetch collateral; several are tried in order"))
    .option("--cacert <pem>", "certificate authority of the gateway's TLS certificate")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack tcb status quote.bin",
        "dstack tcb status https://kms.example.org:9201 --evaluation 20",
        "dstack tcb status hello -o json",
      ]),
    );
export type TcbStatusOptions = OptionsOf<typeof tcbStatusCommand>;

function evaluations() {
  return new Option(
    "--evaluation <number>",
    "judge by this TCB evaluation data number too (may be given several times)",
  )
    .argParser((text: string, before: readonly number[] | undefined) => {
      if (!/^[1-9]\d{0,8}$/.test(text))
        throw new InvalidArgumentError("expected a TCB evaluation data number, like 20");
      return [...(before ?? []), Number(text)];
    })
    .default([] as readonly number[]);
}
