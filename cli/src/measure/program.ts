/**
 * Expected measurements, from files alone.
 * In: a guest OS image and the shape of a VM; an app's manifest; the registers and event log of a quote to compare.
 * Out: MRTD and RTMR0 to RTMR2, what differs and where, the hash of a manifest.
 * Never: something is booted, fetched or believed of the VM that is measured.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import { composeCommand, composeHashCommand, mrCommand, mrDiagnoseCommand, mrMeasureCommand } from "./options.ts";

export function addMeasureCommands(program: Parent, cli: Cli): void {
  const mr = mrCommand(program);
  mrMeasureCommand(mr).action(async (metadata, options) =>
    (await import("./measure.ts")).mrMeasure(cli, metadata, options),
  );
  mrDiagnoseCommand(mr).action(async (options) => {
    cli.exit.code = await (await import("./diagnose.ts")).mrDiagnose(cli, options);
  });
  const compose = composeCommand(program);
  composeHashCommand(compose).action(async (file, options) =>
    (await import("./compose-hash.ts")).composeHash(cli, file, options),
  );
}
