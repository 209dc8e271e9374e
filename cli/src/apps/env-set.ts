import type { Cli } from "../clients/cli.ts";
import { vmmMethods } from "../clients/vmm-client.ts";
import { CliError } from "../terminal/errors.ts";
import { withAppLock } from "./apply/app-lock.ts";
import { checkEnvironment, encryptEnvironment, readEnvironment } from "./plan/environment.ts";
import { manifestOfVm } from "./plan/manifest.ts";
import { stopVm } from "./apply/stop-vm.ts";

/** `dstack env set APP K=V...` */
export async function envSet(cli: Cli, app: string, pairs: readonly string[]): Promise<void> {
  const { say } = cli.out;
  const environment = await readEnvironment(pairs, undefined);
  checkEnvironment(environment);
  const client = await cli.vmm();
  const { name } = await client.find(app);
  await withAppLock(cli.layout, name, async () => {
    const vm = await client.find(app);
    const allowed = manifestOfVm(vm)?.compose.allowedEnvs ?? [];
    const foreign = environment.filter(({ key }) => !allowed.includes(key)).map(({ key }) => key);
    if (foreign.length > 0) {
      throw new CliError(
        "usage",
        `${vm.name} does not accept ${foreign.join(", ")}: its manifest allows ${allowed.length === 0 ? "no variables" : allowed.join(", ")}`,
        { hint: "deploy it again with -e to change what it accepts; that changes its compose hash" },
      );
    }
    const missing = allowed.filter((key) => !environment.some((pair) => pair.key === key));
    if (missing.length > 0) say(`warning: ${missing.join(", ")} will be unset: the environment is replaced as a whole`);
    const encryptedEnv = await encryptEnvironment(client, cli.layout, vm.appId, environment);
    await stopVm(client, vm.id, { force: false, say });
    await client.call(vmmMethods.updateVm, { id: vm.id, encryptedEnv });
    await client.call(vmmMethods.startVm, { id: vm.id });
    say(`the environment of ${vm.name} is replaced; it is starting again`);
  });
}
