import type { Cli } from "../clients/cli.ts";
import { vmmMethods } from "../clients/vmm-client.ts";

/** `dstack start APP` */
export async function start(cli: Cli, app: string): Promise<void> {
  const client = await cli.vmm();
  const { id } = await client.find(app);
  await client.call(vmmMethods.startVm, { id });
  cli.out.say(`started ${app}; follow it with \`dstack logs -f ${app}\``);
}
