import type { Cli } from "../clients/cli.ts";
import type { StopOptions } from "./options.ts";
import { stopVm } from "./apply/stop-vm.ts";

/** `dstack stop APP`: the guest shuts down in order; forced after 60 s, or at once with --force. */
export async function stop(cli: Cli, app: string, { force }: StopOptions): Promise<void> {
  const client = await cli.vmm();
  const { id } = await client.find(app);
  await stopVm(client, id, { force: force === true, say: cli.out.say });
  cli.out.say(`stopped ${app}`);
}
