import type { Cli } from "../clients/cli.ts";
import { vmmMethods, type VmmClient } from "../clients/vmm-client.ts";
import { visible } from "../terminal/output.ts";
import { deploymentPolicy, type AppPolicy } from "./plan/app-policy.ts";
import { versionOf } from "./plan/manifest.ts";
import { withAppLock } from "./apply/app-lock.ts";
import { stopVm } from "./apply/stop-vm.ts";
import { withdraw } from "./apply/withdraw.ts";

/** `dstack rm APP`: the VM, its data, and what its deployment allowed. */
export async function rm(cli: Cli, app: string): Promise<void> {
  const ports = { vmm: await cli.vmm(), policy: await deploymentPolicy(cli.layout), say: cli.out.say };
  const { name } = await ports.vmm.find(app);
  await withAppLock(cli.layout, name, () => removeApp(ports, app));
}

/** Removes an app's VM with its disk, and takes its versions off the policy where no other instance has them. */
export async function removeApp(
  { vmm, policy, say }: { readonly vmm: VmmClient; readonly policy: AppPolicy; readonly say: (text: string) => void },
  app: string,
): Promise<void> {
  const vm = await vmm.find(app);
  // Whatever is wrong with what the VMM keeps, the VM can be removed.
  const previous = await vmm.previousVersion(vm.id).catch(() => undefined);
  const versions = [versionOf(vm), previous?.composeHash].filter((hash) => hash !== undefined);
  await stopVm(vmm, vm.id, { force: true, say });
  await vmm.call(vmmMethods.removeVm, { id: vm.id });
  say(`removed ${app} and its data`);
  if (!policy.isOurs) {
    say("its versions stay allowed by the policy that others keep");
    return;
  }
  for (const { sign, path, value } of await withdraw({ vmm, policy, say }, vm.appId, versions))
    say(`policy ${sign} ${visible(path)} ${visible(value)}`);
}
