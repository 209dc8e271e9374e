import { ConfigError, parseDuration } from "@dstack/config";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { stopVm } from "./apply/stop-vm.ts";
import type { StopOptions } from "./options.ts";

/** `dstack stop APP`: the guest shuts down in order; forced after a while, or at once with --force. */
export async function stop(cli: Cli, app: string, { force, timeout }: StopOptions): Promise<void> {
  const graceMs = durationOf(timeout);
  const client = await cli.vmm();
  const { id } = await client.find(app);
  await stopVm(client, id, { force: force === true, say: cli.out.say, graceMs });
  cli.out.say(`stopped ${app}`);
}

function durationOf(text: string): number {
  try {
    return parseDuration(text);
  } catch (cause) {
    if (cause instanceof ConfigError) throw new CliError("usage", `--timeout: ${cause.message}`);
    throw cause;
  }
}
