/**
 * How current platforms are.
 * In: evidence in a file or from whoever answers at a URL; Intel's documents of today, of tomorrow, of a number.
 * Out: a verdict by each, with what is short and what raises it; an exit code that a timer can act on.
 * Never: what was not asked, or could not be had, counts as good.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import { tcbCommand, tcbStatusCommand } from "./options.ts";

export function addTcbCommands(program: Parent, cli: Cli): void {
  const tcb = tcbCommand(program);
  tcbStatusCommand(tcb).action(async (what, options) => {
    cli.exit.code = await (await import("./status.ts")).tcbStatus(cli, what, options);
  });
}
