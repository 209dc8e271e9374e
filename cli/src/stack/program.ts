/**
 * The local deployment as a whole: KMS, gateway, VMM and what they need, on this host.
 * In: the checkout, the caches and the state folder; the signals that end it.
 * Out: services as processes of their own, recorded before the next one starts; what an earlier run left is stopped.
 * Never: a process that the deployment did not start is ended, or a service runs that no record names.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import { doctorCommand, downCommand, upCommand } from "./options.ts";

export function addStackCommands(program: Parent, cli: Cli): void {
  upCommand(program).action(async (options) => {
    cli.exit.code = await (await import("./up.ts")).up(cli, options);
  });
  downCommand(program).action(async (options) => (await import("./down.ts")).down(cli, options));
  doctorCommand(program).action(async (options) => {
    if (options.unlock !== undefined) return (await import("./unlock.ts")).doctorUnlock(cli, options.unlock);
    cli.exit.code = await (await import("./doctor.ts")).doctor(cli, options);
  });
}
