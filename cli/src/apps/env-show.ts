import type { Cli } from "../clients/cli.ts";
import { manifestOfVm } from "./plan/manifest.ts";
import type { EnvShowOptions } from "./options.ts";

/** `dstack env show APP` */
export async function envShow(cli: Cli, app: string, { output }: EnvShowOptions): Promise<void> {
  const vm = await (await cli.vmm()).find(app);
  const names = manifestOfVm(vm)?.compose.allowedEnvs ?? [];
  if (output === "json") cli.out.json(names);
  else cli.out.print(names.length === 0 ? `${vm.name} accepts no variables` : names.join("\n"));
}
