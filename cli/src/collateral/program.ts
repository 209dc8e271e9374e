/**
 * Intel's documents about a platform: fetched, read, and pinned for verification without a network.
 * In: a quote, whose platform is asked about, or a file in the exchange form.
 * Out: collateral in the exchange form; what it says and until when; a pin in the state folder.
 * Never: a pin of documents that do not hold now.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import { collateralCommand, collateralFetchCommand, collateralPinCommand, collateralShowCommand } from "./options.ts";

export function addCollateralCommands(program: Parent, cli: Cli): void {
  const collateral = collateralCommand(program);
  collateralFetchCommand(collateral).action(async (quote, options) =>
    (await import("./fetch.ts")).collateralFetch(cli, quote, options),
  );
  collateralShowCommand(collateral).action(async (file, options) => {
    cli.exit.code = await (await import("./show.ts")).collateralShow(cli, file, options);
  });
  collateralPinCommand(collateral).action(async (file, options) =>
    (await import("./pin.ts")).collateralPin(cli, file, options),
  );
}
