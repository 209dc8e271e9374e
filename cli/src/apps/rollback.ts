import { allowVersion, type Allowance } from "../auth/policy-file.ts";
import type { Cli } from "../clients/cli.ts";
import { vmmMethods } from "../clients/vmm-client.ts";
import { DEVELOPMENT_DEVICE_ID } from "../local/development-device.ts";
import { CliError } from "../terminal/errors.ts";
import { withAppLock } from "./apply/app-lock.ts";
import { deployPorts } from "./plan/plan-ports.ts";
import { interruptible } from "./apply/interruption.ts";
import { versionOf } from "./plan/manifest.ts";
import type { RollbackOptions } from "./options.ts";
import { planPermission, requireAllowed } from "./plan/permission.ts";
import type { PlanPorts } from "./plan/plan.ts";
import { shellWord } from "../terminal/shell-word.ts";
import { stopVm } from "./apply/stop-vm.ts";
import { waitForVersion } from "./wait.ts";
import { withdraw } from "./apply/withdraw.ts";

/** `dstack rollback APP` */
export async function rollback(cli: Cli, app: string, options: RollbackOptions): Promise<void> {
  const ports = await deployPorts(await cli.vmm(), cli.layout);
  const { name } = await ports.vmm.find(app);
  const work = async (signal: AbortSignal): Promise<void> => {
    const { vmId, composeHash, replaced } = await rollBackApp(app, { ...ports, say: cli.out.say }, signal);
    cli.out.say(`${name} is version ${composeHash} again and starts`);
    if (!options.wait) {
      cli.out.say(`to wait for it: dstack wait ${shellWord(name)}`);
      return;
    }
    const vm = await ports.vmm.find(vmId);
    await waitForVersion(cli, ports, { vm, replaced, signal });
  };
  await withAppLock(cli.layout, name, () => interruptible(work));
}

export interface RolledBack {
  readonly vmId: string;
  /** Hex, of the version that starts now. */
  readonly composeHash: string;
  /** Hex, of the version that was there; undefined where its manifest cannot be read. */
  readonly replaced: string | undefined;
}

/**
 * Puts the version back that an app's last update replaced, and starts it. It is allowed again before it boots.
 * @param signal ends the work between two steps
 * @throws CliError `not-found` where the VMM keeps none, `denied` where the policy refuses it
 */
export async function rollBackApp(
  app: string,
  ports: Pick<PlanPorts, "vmm" | "policy" | "osImageHash"> & { readonly say: (text: string) => void },
  signal?: AbortSignal,
): Promise<RolledBack> {
  const { vmm, policy, say } = ports;
  const vm = await vmm.find(app);
  const previous = await vmm.previousVersion(vm.id);
  if (previous === undefined)
    throw new CliError("not-found", `the VMM keeps no earlier version of ${vm.name}`, {
      hint: "deploy its compose file again",
    });
  const { composeHash } = previous;
  const versionOn = async (image: string): Promise<Allowance> => ({
    osImageHash: await ports.osImageHash(image),
    deviceId: DEVELOPMENT_DEVICE_ID,
    appId: vm.appId,
    composeHash,
  });
  const image = vm.configuration?.image ?? "";
  const version = await versionOn(image);
  const permission = await planPermission(version, { allow: true, check: true }, policy);
  requireAllowed(permission);
  signal?.throwIfAborted();
  if (permission.allows) await policy.change((document) => allowVersion(document, version));
  try {
    signal?.throwIfAborted();
    await stopVm(vmm, vm.id, { force: false, say });
    signal?.throwIfAborted();
    await vmm.rollBack(vm.id);
  } catch (cause) {
    if (permission.allows && !permission.allowedNow.includes(composeHash))
      await withdraw(ports, vm.appId, [composeHash]);
    throw new CliError("failed", `${vm.name} could not be rolled back`, {
      cause,
      hint: `it has the version that it had; if it is stopped: dstack start ${shellWord(vm.name)}`,
    });
  }
  // The image comes back with it, and only now is it known which.
  const imageNow = (await vmm.find(vm.id)).configuration?.image ?? "";
  if (permission.allows && imageNow !== image) {
    const versionNow = await versionOn(imageNow);
    await policy.change((document) => allowVersion(document, versionNow));
  }
  try {
    signal?.throwIfAborted();
    await vmm.call(vmmMethods.startVm, { id: vm.id });
  } catch (cause) {
    const name = shellWord(vm.name);
    throw new CliError("failed", `${vm.name} is version ${composeHash} again and is not started`, {
      cause,
      hint: `to go on: dstack start ${name}, then dstack wait ${name}; to go forth again: dstack rollback ${name}`,
    });
  }
  return { vmId: vm.id, composeHash, replaced: versionOf(vm) };
}
