import type { EnvPair } from "@dstack/keys";
import { vmmMethods } from "../clients/vmm-client.ts";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import { shellWord } from "../terminal/shell-word.ts";
import { withAppLock } from "./apply/app-lock.ts";
import { interruptible } from "./apply/interruption.ts";
import { stopVm } from "./apply/stop-vm.ts";
import { withdraw, type WithdrawPorts } from "./apply/withdraw.ts";
import { checkEnvironment, readEnvironment } from "./plan/environment.ts";
import { manifestOfVm } from "./plan/manifest.ts";
import { deployPorts } from "./plan/plan-ports.ts";
import type { PlanPorts } from "./plan/plan.ts";

/** `dstack env set APP K=V...` */
export async function envSet(cli: Cli, app: string, pairs: readonly string[]): Promise<void> {
  const environment = await readEnvironment(pairs, undefined);
  const ports = { ...(await deployPorts(await cli.vmm(), cli.layout)), say: cli.out.say };
  const { name } = await ports.vmm.find(app);
  await withAppLock(cli.layout, name, () => interruptible((signal) => setEnvironment(app, environment, ports, signal)));
}

/**
 * Replaces an app's environment as a whole and starts it again. The version that the VMM keeps is forgotten with
 * that, so it may no longer boot.
 * @param signal ends the work between two steps
 * @throws CliError that says what the app has then, and the command that goes on
 */
export async function setEnvironment(
  app: string,
  environment: readonly EnvPair[],
  ports: Pick<PlanPorts, "encrypt"> & WithdrawPorts,
  signal?: AbortSignal,
): Promise<void> {
  const { vmm, say } = ports;
  checkEnvironment(environment);
  const vm = await vmm.find(app);
  const allowed = manifestOfVm(vm)?.compose.allowedEnvs ?? [];
  const foreign = environment.filter(({ key }) => !allowed.includes(key)).map(({ key }) => key);
  if (foreign.length > 0)
    throw new CliError(
      "usage",
      `${vm.name} does not accept ${foreign.join(", ")}: its manifest allows ${allowed.length === 0 ? "no variables" : allowed.join(", ")}`,
      { hint: "deploy it again with -e to change what it accepts; that changes its compose hash" },
    );
  const missing = allowed.filter((key) => !environment.some((pair) => pair.key === key));
  if (missing.length > 0) say(`warning: ${missing.join(", ")} will be unset: the environment is replaced as a whole`);
  const encryptedEnv = await ports.encrypt(vm.appId, environment);
  const kept = (await vmm.previousVersion(vm.id))?.composeHash;
  const start = `dstack start ${shellWord(vm.name)}`;
  const step = async <T>(left: string, work: () => Promise<T>): Promise<T> => {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (cause) {
      const code = cause instanceof CliError ? cause.code : "failed";
      throw new CliError(code, `the environment of ${vm.name} could not be replaced in full`, { cause, hint: left });
    }
  };
  const untouched = `nothing was changed; if ${vm.name} is stopped: ${start}`;
  await step(untouched, () => stopVm(vmm, vm.id, { force: false, say }));
  await step(untouched, async () => {
    for (const { sign, path, value } of kept === undefined ? [] : await withdraw(ports, vm.appId, [kept]))
      say(`policy ${sign} ${visible(path)} ${visible(value)}`);
    await vmm.call(vmmMethods.updateVm, { id: vm.id, encryptedEnv });
  });
  await step(`the environment is replaced and ${vm.name} is stopped; to start it: ${start}`, () =>
    vmm.call(vmmMethods.startVm, { id: vm.id }),
  );
  say(`the environment of ${vm.name} is replaced; it is starting again`);
}
